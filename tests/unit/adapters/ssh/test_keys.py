"""Key pairs of sandboxes."""

import asyncssh

from ciab.adapters.ssh.keys import mint


def test_both_pairs_fit_and_say_nothing_about_who_made_them() -> None:
    minted = mint()
    for pair in (minted.user, minted.host):
        private = asyncssh.import_private_key(pair.private.reveal())
        assert private.export_public_key("openssh").decode().strip() == pair.public
        kind, _, comment = pair.public.split(" ")
        assert (kind, comment) == ("ssh-ed25519", "ciab")
    assert minted.user.public != minted.host.public
    assert mint().user.public != minted.user.public
    assert "PRIVATE KEY" not in repr(minted)
