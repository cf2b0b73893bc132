from support.api import Api
from support.waiting import eventually

def test_x(api: Api) -> None:
    made = api.send("t", "hello")
    assert api.page("t")["messages"][0]["id"] == made["id"]
    assert eventually(lambda: api.receipt(made["id"])["state"] == "archived")
