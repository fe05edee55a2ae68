from ciab.localec2.api.catalogue import CANONICAL, offers, parameters


def test_the_parameter_names_canonicals_newest_build() -> None:
    by_id = {offer.id: offer for offer in offers("us-east-1")}
    chosen = {path.split("/")[9]: by_id[value] for path, value in parameters("us-east-1").items()}
    assert {arch: offer.architecture for arch, offer in chosen.items()} == {
        "amd64": "x86_64",
        "arm64": "arm64",
    }
    for offer in chosen.values():
        rivals = [
            o for o in by_id.values() if o.owner == CANONICAL[0] and o.architecture == offer.architecture
        ]
        assert offer.created == max(rival.created for rival in rivals)
        assert len(rivals) == 2


def test_ids_are_stable_and_regional() -> None:
    here = [offer.id for offer in offers("us-east-1")]
    assert here == [offer.id for offer in offers("us-east-1")]
    assert not set(here) & {offer.id for offer in offers("eu-west-1")}
    assert len(set(here)) == len(here)
