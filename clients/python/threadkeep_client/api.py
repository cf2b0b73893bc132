"""The calls that both clients have, by the names that `/openapi.json` gives them."""

from threadkeep_client.calls import messages as message_calls
from threadkeep_client.calls import states, streaming
from threadkeep_client.calls import threads as thread_calls
from threadkeep_client.methods import Method, Walk


class Api:
    """`list_…` gives one page of a list; the names without it go through all of them."""

    post_message = Method(message_calls.post_message)
    post_batch = Method(message_calls.post_batch)
    get_message = Method(message_calls.get_message)
    get_receipt = Method(message_calls.get_receipt)
    edit_message = Method(message_calls.edit_message)
    delete_message = Method(message_calls.delete_message)
    list_messages = Method(message_calls.list_messages)
    messages = Walk(message_calls.list_messages)
    search_messages = Method(message_calls.search_messages)
    search = Walk(message_calls.search_messages)

    open_stream = Method(streaming.open_stream)
    append_chunk = Method(streaming.append_chunk)
    finish_stream = Method(streaming.finish_stream)

    create_thread = Method(thread_calls.create_thread)
    get_thread = Method(thread_calls.get_thread)
    change_thread = Method(thread_calls.change_thread)
    delete_thread = Method(thread_calls.delete_thread)
    list_threads = Method(thread_calls.list_threads)
    threads = Walk(thread_calls.list_threads)
    create_ticket = Method(thread_calls.create_ticket)
    get_service_info = Method(thread_calls.get_service_info)

    get_session = Method(states.get_session)
    put_session = Method(states.put_session)
    patch_session = Method(states.patch_session)
    delete_session = Method(states.delete_session)
    get_run_state = Method(states.get_run_state)
    put_run_state = Method(states.put_run_state)
    delete_run_state = Method(states.delete_run_state)
    list_checkpoints = Method(states.list_checkpoints)
    checkpoints = Walk(states.list_checkpoints)
    get_checkpoint = Method(states.get_checkpoint)
    restore_checkpoint = Method(states.restore_checkpoint)
