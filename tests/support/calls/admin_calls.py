"""Every call of admins, by method and endpoint: its path, and a body where it takes one."""

from typing import Any

ADMIN_CALLS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("GET", "admin.dead_letters.list_dead_letters"): ("/api/admin/dead-letters",),
    ("GET", "admin.dead_letters.get_dead_letter"): ("/api/admin/dead-letters/1",),
    ("POST", "admin.dead_letters.replay_dead_letter"): ("/api/admin/dead-letters/1/replay", {}),
    ("POST", "admin.recovery.recover_redis_cache"): ("/api/admin/recover-redis-cache", {}),
    ("POST", "admin.disaster.initiate_disaster_recovery"): (
        "/api/admin/initiate-disaster-recovery",
        {},
    ),
    ("GET", "admin.disaster.get_disaster_recovery_status"): (
        "/api/admin/disaster-recovery-status",
    ),
    ("POST", "admin.disaster.simulate_disaster"): (
        "/api/admin/simulate-disaster",
        {"scenario": "none"},
    ),
    ("DELETE", "admin.dead_letters.discard_dead_letter"): ("/api/admin/dead-letters/1",),
    ("POST", "admin.consistency.check_consistency"): ("/api/admin/check-consistency", {}),
    ("GET", "admin.consistency.get_consistency_report"): ("/api/admin/consistency",),
    ("DELETE", "admin.users.erase_user"): ("/api/admin/users/somebody",),
    ("DELETE", "admin.users.erase_user_of_any_name"): ("/api/admin/users?user_id=somebody",),
    ("GET", "admin.retention.list_policies"): ("/api/admin/retention",),
    ("PUT", "admin.retention.set_policy"): (
        "/api/admin/retention",
        {"user_id": "somebody", "keep_days": 1},
    ),
    ("DELETE", "admin.retention.clear_policy"): ("/api/admin/retention?user_id=somebody",),
    ("POST", "admin.keys.create_key"): (
        "/api/admin/keys",
        {"name": "mine", "scopes": ["admin"]},
    ),
    ("GET", "admin.keys.list_keys"): ("/api/admin/keys",),
    ("DELETE", "admin.keys.revoke_key"): ("/api/admin/keys/01a1fc1b-eb65-7fec-82e6-2aae62aa8097",),
    ("POST", "admin.revocations.revoke_tokens"): (
        "/api/admin/revocations",
        {"user_id": "somebody"},
    ),
    ("GET", "admin.revocations.list_revocations"): ("/api/admin/revocations",),
    ("DELETE", "admin.revocations.lift_revocation"): (
        "/api/admin/revocations/01a1fc1b-eb65-7fec-82e6-2aae62aa8097",
    ),
    ("GET", "admin.archive.get_archive"): ("/api/admin/archive",),
    ("GET", "admin.operator_receipts.get_operator_receipt"): (
        "/api/admin/messages/01a1fc13-2a0f-788d-90e0-8acba3010624/receipt",
    ),
    ("GET", "admin.audit.list_audit"): ("/api/admin/audit",),
    ("GET", "admin.alerts.list_alerts"): ("/api/admin/performance-alerts?history=true",),
    ("POST", "admin.alerts.acknowledge_alert"): ("/api/admin/performance-alerts/1/acknowledge",),
    ("POST", "admin.alerts.silence_alert"): (
        "/api/admin/performance-alerts/1/silence",
        {"seconds": 1},
    ),
    ("GET", "admin.road.get_road"): ("/api/admin/road",),
    ("GET", "admin.road.get_storage_performance"): ("/api/admin/storage-performance",),
    ("POST", "admin.disaster.simulate_degradation"): (
        "/api/admin/simulate-performance-degradation",
        {"scenario": "none"},
    ),
}
