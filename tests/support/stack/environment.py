"""An environment that is complete and names servers nobody has: for tests that connect to none."""

COMPLETE = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql+psycopg2://u@127.0.0.1:1/d",
    "CLICKHOUSE_URL": "clickhouse+http://default:@127.0.0.1:1/d",
    "THREADKEEP_JWT_SECRET": "a secret of tests, thirty-two bytes or more",
}
