"""Addresses of the network: whom they stand for, and which are of this machine."""

import ipaddress

_IPV6_PREFIX = 64
"""One customer of a network has all addresses with the same first 64 bits."""


def network_of(address: str) -> str:
    """The address, or the network that it stands for."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], _IPV6_PREFIX), strict=False))
    except ValueError:
        return address


def is_local(host: str | None) -> bool:
    """Whether a host is this machine, or the path of a socket on it."""
    if not host or host.casefold() == "localhost" or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
