"""What the core itself brings to comparisons: the same table of names and modules that a plugin writes into its entry points."""

from __future__ import annotations

BUILT_IN: dict[str, dict[str, str]] = {
    "exploiter": dict.fromkeys(
        ("unet", "attention-unet", "unet++", "transunet", "resnet18", "densenet121", "vit"),
        "privmed.bench.networks",
    ),
    "defence": {
        **dict.fromkeys(("none", "blur", "jpeg60", "jpeg30", "augment", "adversarial"), "privmed.bench.defences"),
        **dict.fromkeys(("grey", "red", "green", "blue", "median", "bilateral", "bits5"), "privmed.bench.filters"),
        **dict.fromkeys(
            ("notch", "bandstop", "outline", "clean", "clean10", "clean50", "early-stop", "pretrained", "instance"),
            "privmed.bench.adaptive",
        ),
        **dict.fromkeys(("mixed", "inpaint", "chain"), "privmed.bench.combined"),
    },
    "detector": {
        **dict.fromkeys(("recover", "cooccurrence"), "privmed.bench.detectors"),
        "srnet": "privmed.bench.srnet",
    },
    "metric": dict.fromkeys(
        ("dice", "false-area", "silent", "missed", "jaccard", "asd", "accuracy", "psnr", "psnr-y", "ssim", "ciede2000"),
        "privmed.bench.metrics",
    ),
    "reader": dict.fromkeys(("folder", "busi", "npz", "nifti"), "privmed.bench.readers"),
    "suite": {
        "protection": "privmed.bench.suites.protection",
        "watermark": "privmed.bench.suites.watermark",
        "hiding": "privmed.bench.suites.hiding",
        "detection": "privmed.bench.suites.detection",
        "covert": "privmed.bench.suites.covert",
        "script": "privmed.bench.suites.script",
    },
}
