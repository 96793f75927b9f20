"""Words that are no flags: refused by the programs that have no use for them."""

import pytest

from dit_jax import fit_codec, prepare
from dit_jax.errors import UserError


@pytest.mark.parametrize("program", [prepare, fit_codec])
def test_a_word_that_is_no_flag_is_refused(program):
    with pytest.raises(UserError, match="'videos' is not understood; flags start with"):
        program.main(["videos"])
