"""The page on memory holds the table that the estimate makes, of bases with the sizes that their makers publish."""

from scripts import cards


def test_the_table_of_cards_is_what_the_estimate_says() -> None:
    assert cards.PAGE.read_text("utf-8") == cards.written()


def test_bases_have_the_parameters_that_their_makers_publish() -> None:
    published = {name: count for name, (_, count) in cards.configs().items()}
    assert {name: cards.shape_of(config).parameters for name, (config, _) in cards.configs().items()} == published


def test_more_card_and_fewer_bits_hold_no_fewer_adapters() -> None:
    shape = cards.shape_of(cards.configs()["Llama-3.2-3B"][0])
    by_card = [cards.most_adapters(shape, "nf4", card) for card in cards.CARDS]
    by_kind = [cards.most_adapters(shape, kind, 16) for kind in cards.KINDS]
    assert by_card == sorted(by_card) and by_kind == sorted(by_kind) and by_kind[0] < by_kind[-1]
