"""What there is of each kind to begin with, as its README and its plan say it."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Sketch:
    """What the method of a kind is, for its README.

    Attributes:
        about: a sentence.
        use: the command that uses it.
        suite: a plan of this suite has a place for it.
        entry: that place, as lines of the plan.
        view: what of its figures the table shows, one row a method; without, all of them.
        quick: settings of the suite with which the plan takes a minute on phantoms; without, they cannot stand for its data.
        weak: what breaks it.
        weights: whether it has any.
        kind: the registry's word for the kind.
    """

    about: str
    use: str
    suite: str
    entry: str
    weak: str
    view: str = ""
    quick: str = ""
    weights: bool = False
    kind: str = ""


TINT = "entries: [{label: unprotected}, {label: tint, method: tint, control: unprotected}]"
JUDGED = "{down: [method], across: [metric, DIMENSION], where: {metric: [dice, psnr], epoch: ''}}"
KINDS = {
    "hider": Sketch(
        about="Least-significant bits: a scan in the lowest bits of a photograph.",
        use="privmed hide SCAN PHOTO -o STEGO.png --hider {name}",
        suite="hiding",
        entry="entries: [{label: lightih, method: lightih}, {label: {name}, method: {name}}]\ngrid: {cover: [covers]}",
        view="{down: [method], across: [metric, pair], where: {metric: [psnr, ssim], statistic: ''}}",
        quick="{size: 96}",
        weak="the histogram of the lowest bits gives it away, and any change of the file destroys what is hidden.",
    ),
    "analyzer": Sketch(
        about="Smoothing: the server softens the photograph, and what is dark in the result is the lesion.",
        use="privmed analyze STEGO.png -o RESPONSE.png --analyzer {name}",
        suite="covert",
        entry="entries: [{label: {name}, method: {name}}]\ngrid: {hider: [none], cover: [covers]}",
        view="{down: [method], across: [metric]}",
        quick="{size: 96}",
        weak="smoothing destroys what most hiders hide, and not all that is dark is a lesion.",
        weights=True,
    ),
    "protector": Sketch(
        about="Random noise within epsilon, the control that a protector has to beat.",
        use="privmed protect DATASET -o PUBLISHED --protector {name}",
        suite="protection",
        entry="entries: [{label: unprotected}, {label: {name}, method: {name}, control: unprotected}]",
        view=JUDGED.replace("DIMENSION", "data"),
        quick="{size: 64, protocol: {epochs: 2, width: 4, batch: 4}}",
        weak="networks learn past random noise as if it were not there.",
    ),
    "watermarker": Sketch(
        about="A logo in a corner that spares the lesion.",
        use="privmed watermark DATASET -o PUBLISHED --key set.key --model MODEL --watermarker {name}",
        suite="watermark",
        entry="entries: [{label: unmarked}, {label: {name}, method: {name}}]\nsettings: {models: {net: net.safetensors}}",
        weak="a corner can be cut off, and it misleads a model by luck alone.",
    ),
    "exploiter": Sketch(
        about="Dilated convolutions that learn from protected images.",
        use="privmed bench protection --data DATASET -o OUT --exploiters {name}",
        suite="protection",
        entry=f"{TINT}\ngrid: {{exploiter: [unet, {{name}}]}}",
        view=JUDGED.replace("DIMENSION", "exploiter"),
        quick="{size: 64, protocol: {epochs: 2, width: 4, batch: 4}}",
        weak="it sees as far as its depth says, and no farther.",
    ),
    "defence": Sketch(
        about="Fewer grey levels before anything is learned.",
        use="privmed bench protection --data DATASET -o OUT --defences none,{name}",
        suite="protection",
        entry=f"{TINT}\ngrid: {{exploiter: [unet], defence: [none, {{name}}]}}",
        view=JUDGED.replace("DIMENSION", "defence"),
        quick="{size: 64, protocol: {epochs: 2, width: 4, batch: 4}}",
        weak="a protection that is coarser than a level stays.",
    ),
    "dataset": Sketch(
        about="Reads data sets of one archive a case.",
        use="privmed bench protection --data DATASET -o OUT",
        suite="protection",
        entry=f"reader: {{name}}\n{TINT}",
        view=JUDGED.replace("DIMENSION", "data"),
        quick="{size: 64, protocol: {epochs: 2, width: 4, batch: 4}}",
        weak="archives say nothing of patients, so a drawn split may part them.",
        kind="reader",
    ),
    "suite": Sketch(
        about="Compares protectors by how far they move pixels.",
        use="privmed bench run PLAN.yaml --data DIR -o OUT",
        suite="{name}",
        entry=TINT,
        quick="{size: 64}",
        weak="a small change can be seen, and a large one can be hidden.",
    ),
}
