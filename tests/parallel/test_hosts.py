"""What is checked before a process joins the others."""

import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import hosts


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:abc",
        "127.0.0.1:0",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:\u0663",
        ":8476",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_before_joining(address):
    with pytest.raises(UserError, match="give HOST:PORT of process 0"):
        hosts.join(address, 2, 0)


@pytest.mark.parametrize("address", ["localhost:1", "10.0.0.2:65535", "[::1]:8476"])
def test_an_address_is_a_host_and_a_port(address):
    hosts.require_address(address)
