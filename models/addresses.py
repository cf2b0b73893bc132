"""Whom an address of the network stands for."""

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
