"""Names out of files stay in their folder, whatever they look like and whatever links lie there."""

import os

import pytest

from privmed.errors import InputError, OutputError
from privmed.files import check_not_input, folded, inside, plain, same_file


def test_a_name_that_could_lead_elsewhere_is_refused_with_its_file(tmp_path, bad_name):
    with pytest.raises(InputError, match=r"^table\.csv: the name .* (is|leads|holds|names|cannot) "):
        inside(tmp_path, bad_name, "table.csv")


@pytest.mark.parametrize(
    ("name", "short"),
    [("a.png", "a.png"), ("./a//b.png", "a/b.png"), ("a/..b.png", "a/..b.png"), ("...", "..."), ("é ü.png", "é ü.png")],
)
def test_ordinary_names_are_taken_in_their_shortest_form(tmp_path, name, short):
    assert plain(name) == short
    assert inside(tmp_path, name) == tmp_path / short


def test_links_may_lie_in_a_folder_but_not_lead_out_of_it(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    (home / "sub").mkdir(parents=True)
    away.mkdir()
    (home / "sub/near").symlink_to("../x.png")
    (home / "far").symlink_to(away)
    (home / "dangling").symlink_to(away / "not-yet.png")
    (home / "loop").symlink_to("loop")
    (tmp_path / "alias").symlink_to(home)
    assert inside(home, "sub/near") == home / "sub/near"
    assert inside(tmp_path / "alias", "sub/near") == tmp_path / "alias/sub/near"  # the folder itself may be a link
    for name in ("far", "far/x.png", "dangling"):
        with pytest.raises(InputError, match="leads out of"):
            inside(home, name)
    assert inside(home, "loop/x.png") == home / "loop/x.png"  # leads nowhere at all


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set-private").mkdir()
    (tmp_path / "set/x").symlink_to(tmp_path / "set-private")
    with pytest.raises(InputError, match="leads out of"):
        inside(tmp_path / "set", "x/a.png")


def test_an_output_is_no_input_by_whatever_name(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"original")
    os.link(source, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(source)
    for name in ("a.png", "hard.png", "soft.png"):
        with pytest.raises(OutputError, match="is the input"):
            check_not_input(tmp_path / name, [source])
    check_not_input(tmp_path / "new.png", [source])
    assert not same_file(source, tmp_path / "nul\0")


def test_names_that_some_systems_take_for_one_are_folded_alike():
    assert folded("A/É.PNG") == folded("a/e\u0301.png")
    assert folded("a.png") != folded("b.png")
