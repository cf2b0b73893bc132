"""The words of messages, by which they are found: an index over what a function makes of them."""

from alembic import op

revision = "0011"
down_revision = "0010"

COLLATIONS = ("pg_catalog.pg_unicode_fast", "pg_catalog.pg_c_utf8", 'pg_catalog."und-x-icu"')
"""What knows small letters of every alphabet, whatever the database itself was made with; the first
that this server has."""

DROPPED = (
    r"[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    r"\u0610-\u061a\u061c\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8"
    r"\u06ea-\u06ed\u0711\u0730-\u074a\u180b-\u180f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff"
    r"\U0001f3fb-\U0001f3ff\U000e0000-\U000e01ef]"
)

# As `models.search_terms` says: folded at least as much as models.search does, then runs of a-z and
# 0-9, and of all other characters each one and each two that stand together. Plain text takes a
# shorter way, and if it is short itself a shorter one still, with the same end. What builds an
# index looks into no schema by itself, so the one calls the other by its whole name.
# Each term is its user's own, so the index leads to that user's messages alone, however many others
# write the same words. The function costs twenty microseconds and says much more, so that nobody
# looks at message after message where there is an index.
FUNCTIONS = """
CREATE FUNCTION search_fold(content text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT regexp_replace(normalize(replace(replace(translate(
        lower(regexp_replace(normalize(content, NFKD), '{dropped}', '', 'g') COLLATE {collation}),
        U&'\\03C2\\1C80\\1C81\\1C82\\1C83\\1C84\\1C85\\1C86\\1C87\\1C88',
        U&'\\03C3\\0432\\0434\\043E\\0441\\0442\\0442\\044A\\0463\\A64B'),
        U&'\\00DF', 'ss'), U&'\\1E9E', 'ss'), NFKD), '{dropped}', '', 'g')
$$;

CREATE FUNCTION search_terms(user_id text, content text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000000 AS $$
DECLARE
    mark text := left(md5(user_id), 8);
    folded text;
BEGIN
    IF octet_length(content) = char_length(content) AND octet_length(content) > 2000 THEN
        RETURN array_to_tsvector(ARRAY(
            SELECT DISTINCT mark || left(run, 500) FROM regexp_split_to_table(
                lower(content COLLATE "C"), '[^a-z0-9]+' COLLATE "C") AS run
            WHERE run <> ''));
    ELSIF octet_length(content) = char_length(content) THEN
        RETURN array_to_tsvector(array_remove(array_remove(string_to_array(replace(
            ' ' || translate(lower(content COLLATE "C"), U&'{separators}', U&'{spaces}'),
            ' ', ' ' || mark), ' '), ''), mark));
    END IF;
    folded := {schema}.search_fold(content);
    RETURN array_to_tsvector(ARRAY(
        SELECT mark || left(run, 500)
        FROM regexp_split_to_table(folded, '[^a-z0-9]+' COLLATE "C") AS run WHERE run <> ''
        UNION
        SELECT mark || term FROM (
            SELECT one, lead(one) OVER (ORDER BY place) AS next
            FROM unnest(string_to_array(folded, NULL)) WITH ORDINALITY AS of (one, place)
        ) AS pairs CROSS JOIN LATERAL (
            VALUES (one), (CASE WHEN octet_length(next) > 1 THEN one || next END)
        ) AS both_terms (term)
        WHERE octet_length(one) > 1 AND term IS NOT NULL
    ));
END $$;
"""

# The index is of no use to a query under row-level security, since what compares there could tell
# of rows that it is not to see. So this asks in the owner's name, for the user alone whose rows the
# caller sees, and gives no more than ids: the rows are read as the caller.
CANDIDATES = """
CREATE INDEX messages_by_words ON messages USING gin (search_terms(user_id, content))
    WITH (gin_pending_list_limit = 1024) WHERE deleted_at IS NULL;

CREATE FUNCTION search_candidates(
    terms tsquery, patterns text[], low uuid, high uuid, of_thread text, of_role text,
    at_most integer
) RETURNS TABLE (id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    -- With the values at hand the planner knows whether words are rare. Without statistics of a new
    -- week it takes a user for one with hardly a message, so it is not to go by that index.
    RETURN QUERY EXECUTE
        'SELECT m.id FROM messages m WHERE m.user_id || '''' = $1 AND m.deleted_at IS NULL'
        ' AND search_terms(m.user_id, m.content) @@ $2 AND m.id > $3 AND m.id < $4'
        || CASE WHEN of_thread IS NULL THEN '' ELSE ' AND m.thread_id = $5' END
        || CASE WHEN of_role IS NULL THEN '' ELSE ' AND m.role = $6' END
        || CASE WHEN cardinality(patterns) = 0 THEN '' ELSE
            ' AND (octet_length(m.content) <> char_length(m.content)'
            ' OR lower(m.content COLLATE "C") ~ ALL ($8))' END
        || ' ORDER BY m.id DESC LIMIT $7'
        USING current_setting('app.user_id', true), terms, low, high, of_thread, of_role, at_most,
            patterns;
END $$;
REVOKE ALL ON FUNCTION search_candidates FROM PUBLIC;
GRANT EXECUTE ON FUNCTION search_candidates TO threadkeep_web;
"""


def upgrade() -> None:
    connection = op.get_bind()
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    separators = [code for code in range(1, 128) if not chr(code).isalnum() and code != 32]
    functions = FUNCTIONS.format(
        schema=schema,
        dropped=DROPPED,
        collation=_collation(),
        separators="".join(f"\\{code:04x}" for code in separators),
        spaces=" " * len(separators),
    )
    connection.exec_driver_sql(functions.replace("%", "%%"))
    candidates = CANDIDATES.replace("{schema}", schema)
    connection.exec_driver_sql(candidates.replace("%", "%%"))


def _collation() -> str:
    connection = op.get_bind()
    for collation in COLLATIONS:
        name = collation.removeprefix("pg_catalog.").strip('"')
        found = "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = %(name)s)"
        if connection.exec_driver_sql(found, {"name": name}).scalar_one():
            return collation
    return '"default"'


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
