"""The routes of usage analytics."""

from flask import Blueprint, Response, request

from models import ids
from models.message import check_role
from storage.analytics.buckets import MOST_BUCKETS, TooManyBuckets, Window
from storage.analytics.figures import BUCKETS, METRICS, Counted, Series, Summary
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest
from webapp.http.operation import Operation
from webapp.http.requests import answer, query_choice, query_time, wrong_parameter

blueprint = Blueprint("analytics", __name__, url_prefix="/api/analytics")


@Operation(
    "Figures of your messages; for admins also of everyone's",
    {200: Summary},
    query=("since", "until"),
)
@blueprint.get("/summary")
def get_analytics_summary() -> Response:
    """Counts and sizes of the caller's messages; for an admin also those of all users."""
    since, until = _range()
    own = caller()
    service = web().services.analytics
    found = service.summary(own.user_id, since=since, until=until, with_everyone=own.is_admin)
    return answer(found)


@Operation(
    "One figure over time",
    {200: Series},
    query=("metric", "bucket", "since", "until", "role", "scope"),
    errors=(403,),
)
@blueprint.get("/series")
def get_analytics_series() -> Response:
    """One figure bucket by bucket, of the caller, or for an admin of all users."""
    metric = query_choice("metric", METRICS, "messages")
    bucket = query_choice("bucket", BUCKETS, "day")
    scope = query_choice("scope", ("own", "everyone"), "own")
    role = request.args.get("role") or None
    if role is not None:
        check_role(role)
    if scope == "everyone" and not caller().is_admin:
        raise BadRequest(403, "forbidden", "everyone's figures are for admins")
    since, until = _range()
    now = ids.timestamp(web().services.tiers.clock.now_us())
    try:
        window = Window.of(bucket, since, until, now)
    except TooManyBuckets:
        detail = f"that is more than {MOST_BUCKETS} buckets; take wider ones, or a shorter time"
        raise BadRequest(422, "too_many_buckets", detail) from None
    user_id = caller().user_id
    counted = Counted(None if scope == "everyone" else user_id, role=role)
    return answer(web().services.analytics.series(user_id, counted, metric, window))


def _range() -> tuple[str | None, str | None]:
    since, until = query_time("since"), query_time("until")
    if since is not None and until is not None and since >= until:
        raise wrong_parameter("until", "later than since")
    return since, until
