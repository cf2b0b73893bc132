"""The words of a message take a time that goes with its length, whatever is in it.

Putting the marks of one letter into order takes as long as the square of how many there are, and
one letter may stand for eighteen: who sent nothing else held up what all others had written.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

# What is made of texts is as before, so the index is right as it is. Only two marks in an order of
# their own, between which a long text is parted, stay so.
NORMAL = """
CREATE FUNCTION search_normal(content text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN char_length(content) <= 1000 THEN normalize(content, NFKD) ELSE (
        SELECT string_agg(normalize(piece[1], NFKD), '' ORDER BY place)
        FROM regexp_matches(content, '.{1,250}', 'g') WITH ORDINALITY AS of (piece, place)
    ) END
$$;
"""
EACH_ONCE = """
    IF char_length(folded) > 2 * char_length(content) THEN
        folded := (SELECT string_agg(DISTINCT part, ' ')
                   FROM unnest(string_to_array(folded, ' ')) AS part);
    END IF;
"""
BODY = (
    "SELECT prosrc FROM pg_proc WHERE proname = %(name)s"
    " AND pronamespace = CAST(%(schema)s AS regnamespace)"
)
FUNCTIONS = """
CREATE OR REPLACE FUNCTION search_fold(content text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $${fold}$$;

CREATE OR REPLACE FUNCTION search_terms(user_id text, content text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000000 AS $${terms}$$;

-- By the cost of the function every search looks worth several processes, whose start takes ten
-- times as long as what they find.
ALTER FUNCTION search_candidates SET max_parallel_workers_per_gather = 0;
"""


def upgrade() -> None:
    connection = op.get_bind()
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()

    def body(name: str) -> str:
        # As it was made, in the collation that was found then.
        values = {"name": name, "schema": schema}
        return str(connection.exec_driver_sql(BODY, values).scalar_one())

    fold = body("search_fold").replace("normalize(", f"{schema}.search_normal(")
    folded = f"folded := {schema}.search_fold(content);"
    terms = body("search_terms").replace(folded, folded + EACH_ONCE)
    connection.exec_driver_sql(NORMAL)
    functions = FUNCTIONS.format(fold=fold.replace(", NFKD)", ")"), terms=terms)
    connection.exec_driver_sql(functions.replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("messages are never dropped by a migration; restore a backup instead")
