"""Training with images without a lesion, with photographs without a scan, and with several classes a mask."""

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import registry
from privmed.data.samples import ultrasound_phantom
from privmed.errors import InputError, SettingsError
from privmed.training import read_recipe, run
from privmed.training.losses import dice_ce_classes
from privmed.training.make import make_task
from privmed.training.scores import Scores

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

TINY = [
    *("data.crop=32", "data.size=32", "data.batch=4", "data.validation=0.4", "data.augment=0.2"),
    *("schedule.warmup=0", "schedule.validate=4", "schedule.steps=4"),
]


@pytest.fixture
def root(tmp_path):
    """Phantoms with lesions, and their maps of three classes; phantoms without, as a class of a set; photographs; an untrained hider."""
    data, rng = tmp_path / "data", np.random.default_rng(0)
    folders = ("scans/images", "scans/masks", "scans/masks-multi", "sorted/normal", "sorted/benign", "photos")
    for folder in folders:
        (data / folder).mkdir(parents=True)
    for i in range(8):
        scan, mask = (x[0, 0].numpy() for x in ultrasound_phantom(i, side=48))
        tissue = np.where(mask > 0, scan[mask < 1].mean(), scan)
        save(scan, data / f"scans/images/{i}.png")
        save(mask, data / f"scans/masks/{i}.png")
        half = mask * (1 + (np.arange(48) > 22))
        Image.fromarray(half.astype(np.uint8)).save(data / f"scans/masks-multi/{i}.png")
        save(tissue, data / f"sorted/normal/{i}.png")
        save(scan, data / f"sorted/benign/{i}.png")
        Image.fromarray(rng.integers(0, 255, (36, 50, 3), dtype=np.uint8)).save(data / f"photos/{i}.png")
    for name, inner in (("scans", [""]), ("sorted", ["normal/", "benign/"])):  # all of it is for training
        lines = "".join(f"{folder}{i}.png,train\n" for folder in inner for i in range(8))
        (data / name / "split.csv").write_text("file,split\n" + lines)
    return tmp_path


def save(image, path):
    Image.fromarray((image * 255).round().astype(np.uint8)).save(path)


def recipe(root, task, sets, settings="{width: 2}", extra=""):
    path = root / f"{task}.yaml"
    path.write_text(
        f"name: tiny\ntask: {task}\nmethod: analyzer:unet\nsettings: {settings}\n{extra}"
        f"data: {{root: {root}/data, covers: photos, secrets: {sets}}}\n"
    )
    return path


def hidden(root):
    """The lines of a recipe that name an untrained hider."""
    path = root / "hider.yaml"
    path.write_text(
        "name: tiny\ntask: hiding\nmethod: hider:lightih\nsettings: {blocks: 1}\n"
        f"data: {{root: {root}/data, covers: photos, secrets: [{{folder: photos}}]}}\n"
    )
    run(path, overrides=[*TINY, "schedule.steps=1"], out=root / "h", quiet=True)
    return f"hider_weights: {root}/h/lightih-tiny.safetensors\n"


WITH_NORMAL = "[{folder: scans}, {folder: sorted, only: normal, masks: none}]"


def test_images_without_a_lesion_have_empty_masks(root):
    task = make_task(read_recipe(recipe(root, "bare", WITH_NORMAL), TINY), "cpu")
    images = [i for part in (*task.training, *task.held) for i in part]
    assert {i.image.parent.name for i in images} == {"images", "normal"}
    for item in images:
        assert bool(task.mask(item, 32).any()) == (item.image.parent.name == "images")
    seen = torch.cat([task.batch(step)[1] for step in range(4)]).flatten(1).amax(1)
    assert set(seen.tolist()) == {0, 1}


def test_a_segmenter_learns_that_there_may_be_nothing(root):
    """Phantoms whose lesion is dark: with lesion-free images in the training it stays silent on others."""
    longer = [
        *TINY,
        "schedule.steps=60",
        "schedule.validate=60",
        "optimizer.rate=5e-3",
        "optimizer.average=0",
        "data.batch=8",
    ]
    path = recipe(root, "bare", WITH_NORMAL, "{width: 4}")
    figures = run(path, overrides=longer, out=root / "o", quiet=True)
    assert {"dice", "false_area", "silent", "score"} <= figures.keys()
    assert figures["dice"] > 0.6
    assert figures["false_area"] < 0.02


def test_figures_part_images_with_a_lesion_from_those_without():
    scores, masks = Scores(), torch.zeros(4, 1, 10, 10)
    masks[:3, :, :5] = 1
    logits = torch.full((4, 1, 10, 10), -1.0)
    logits[:3, :, :5], logits[3, :, :2] = 1, 1
    scores.add(logits.sigmoid(), masks)
    assert scores.figures() == pytest.approx({"dice": 1, "false_area": 0.2, "silent": 0, "score": 0.75})


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ("[{folder: sorted, only: normal}]", "say masks: none in the recipe"),
        ("[{folder: sorted, only: normal, masks: none}]", "no other set of the recipe has any"),
        ("[{folder: sorted, only: norml, masks: none}]", "no pictures of class 'norml'; it has benign, normal"),
        ("[{folder: scans, masks: mask}]", "no images/ with masks in mask/"),
    ],
)
def test_sets_that_do_not_fit_are_told(root, sets, words):
    with pytest.raises(InputError, match=words):
        run(recipe(root, "bare", sets), overrides=TINY, out=root / "o", quiet=True)


def test_the_digest_of_a_class_is_that_of_its_images(root):
    whole, normal = (
        make_task(read_recipe(recipe(root, "bare", sets), TINY), "cpu").sources[-1].digest("train")
        for sets in ("[{folder: scans}, {folder: sorted, masks: none}]", WITH_NORMAL)
    )
    Image.new("L", (48, 48)).save(root / "data/sorted/benign/0.png")
    again = make_task(read_recipe(recipe(root, "bare", WITH_NORMAL), TINY), "cpu").sources[-1].digest("train")
    assert normal == again != whole


def test_several_classes_train_bare_and_covert(root):
    sets = "[{folder: scans, masks: masks-multi}]"
    longer = [*TINY, "schedule.steps=200", "schedule.validate=200", "optimizer.rate=3e-3", "optimizer.average=0"]
    path = recipe(root, "bare", sets, "{width: 2, mask_classes: 3}")
    bare = run(path, overrides=longer, out=root / "b", quiet=True)
    assert min(bare["dice"], bare["dice_1"], bare["dice_2"]) > 0.4
    path = recipe(root, "covert", sets, "{width: 2, mask_classes: 3, colours: learned}", hidden(root))
    covert = run(path, overrides=[*TINY, "joint=true"], out=root / "c", quiet=True)
    assert {"dice", "dice_1", "dice_2", "response_db"} <= covert.keys()
    method = registry.create("analyzer", "unet", weights=root / "c/unet-tiny.safetensors")
    assert method.decode(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    with pytest.raises(InputError, match=r"holds class 2, but mask_classes is 2 \(0 to 1\)"):
        run(path, overrides=[*TINY, "settings.mask_classes=2"], out=root / "n", quiet=True)


def test_images_without_a_map_are_left_out_of_a_partial_set(root):
    (root / "data/scans/masks-multi/3.png").unlink()
    path = recipe(root, "bare", "[{folder: scans, masks: masks-multi}]", "{width: 2, mask_classes: 3}")
    task = make_task(read_recipe(path, TINY), "cpu")
    assert len([i for part in (*task.training, *task.held) for i in part]) == 7


def test_a_map_that_is_no_grey_one_is_told(root):
    for path in (root / "data/scans/masks-multi").iterdir():
        Image.open(path).convert("RGB").save(path)
    path = recipe(root, "bare", "[{folder: scans, masks: masks-multi}]", "{width: 2, mask_classes: 3}")
    with pytest.raises(InputError, match="expected one file in 8-bit grey"):
        run(path, overrides=TINY, out=root / "o", quiet=True)


class Visible:
    """A hider whose stegos are dark, and whose secret is what is sent."""

    def hide(self, secret, cover, **_):
        return 0.2 * cover

    def recover(self, stego, **_):
        return stego


def test_a_client_learns_that_nothing_was_hidden(root, monkeypatch):
    """A share of the photographs is sent bare; their masks are empty, and the client learns to tell them from stegos."""
    path = recipe(root, "covert", "[{folder: scans}]", "{width: 2, presence: true}", hidden(root))
    task = make_task(read_recipe(path, [*TINY, "data.nothing=0.5", "loss.response=0", "data.batch=8"]), "cpu")
    monkeypatch.setattr(task, "hider", Visible())
    sent, told = [], []
    analyze, loss = task.method._analyze, task.told
    monkeypatch.setattr(task.method, "_analyze", lambda stego, g: sent.append(stego) or analyze(stego, g))
    monkeypatch.setattr(task, "told", lambda *a: told.append(a) or loss(*a))
    optimizer = torch.optim.Adam(task.method.train().parameters(), 1e-2)
    for step in range(25):
        optimizer.zero_grad()
        task.loss(step)[0].backward()
        optimizer.step()
    bare = torch.cat([a[3] for a in told])
    assert 0.3 < bare.float().mean() < 0.7
    assert torch.equal(torch.cat(sent).amax((1, 2, 3)) > 0.5, bare)
    seen, presence = told[-1][3], task.method._presence(told[-1][1])
    assert presence[~seen].mean() - presence[seen].mean() > 1


def test_where_nothing_is_hidden_the_right_mask_is_empty(root):
    path = recipe(root, "covert", "[{folder: scans}]", "{width: 2}", hidden(root))
    task = make_task(read_recipe(path, [*TINY, "data.nothing=0.5"]), "cpu")
    full, logits = torch.ones(2, 1, 32, 32), torch.full((2, 1, 32, 32), 20.0)
    logits[1] = -20
    bare = torch.tensor([False, True])
    assert (
        float(task.told(logits, logits, full, bare))
        < 1.01 * float(task.told(logits[:1], logits[:1], full[:1], bare[:1])) + 1e-3
    )
    assert float(task.told(logits, logits, full, ~bare)) > 10


def test_nothing_is_told_among_several_classes(root):
    path = recipe(
        root,
        "covert",
        "[{folder: scans, masks: masks-multi}]",
        "{width: 2, mask_classes: 3, presence: true}",
        hidden(root),
    )
    figures = run(path, overrides=[*TINY, "data.nothing=0.5"], out=root / "o", quiet=True)
    assert {"dice_2", "nothing_silent", "nothing_refused", "hidden_refused"} <= figures.keys()


def test_classes_may_have_nothing_hidden_if_the_client_is_told(root):
    extra = hidden(root)
    path = recipe(root, "covert", "[{folder: sorted}]", "{width: 2, classes: 2}", extra)
    with pytest.raises(SettingsError, match="no class says that nothing was hidden"):
        run(path, overrides=[*TINY, "data.nothing=0.5"], out=root / "o", quiet=True)
    told = [*TINY, "data.nothing=0.5", "settings.presence=true"]
    figures = run(path, overrides=told, out=root / "o", quiet=True)
    assert {"accuracy", "auc", "nothing_refused"} <= figures.keys()
    with pytest.raises(SettingsError, match=r"set data\.nothing above 0"):
        run(path, overrides=[*TINY, "settings.presence=true"], out=root / "p", quiet=True)
    card = registry.create("analyzer", "unet", weights=root / "o/unet-tiny.safetensors").card
    assert card["classes"] == ["benign", "normal"]


def test_dice_ce_of_classes_by_hand():
    """Two pixels of two classes, all probabilities a half: Dice loss 1 - 2 * 0.5 / (1 + 1), cross-entropy ln 2."""
    value = dice_ce_classes(torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 0.0]]]]), smooth=0)
    assert float(value) == pytest.approx(0.5 + np.log(2), abs=1e-6)


def test_a_class_that_an_image_does_not_have_costs_no_dice():
    labels = torch.tensor([[[[1.0, 0.0]]]])
    two, three = torch.zeros(1, 2, 1, 2), torch.zeros(1, 3, 1, 2)
    three[:, 2] = -30
    assert float(dice_ce_classes(three, labels)) == pytest.approx(float(dice_ce_classes(two, labels)), abs=1e-4)
