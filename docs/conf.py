"""Settings of the site: ``make docs`` builds it, offline and strictly."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import privmed

project, author, copyright = "privmed", "the authors of privmed", "the authors of privmed"
release = version = privmed.__version__
extensions = [
    "privmed_site",
    "myst_nb",
    "sphinx_gallery.gen_gallery",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "index"
exclude_patterns = ["_build", "privmed_site", "tutorials/*", "generated/tutorials/*.ipynb"]
# The latter: two classes of one name, of which a signature names one.
suppress_warnings = ["config.cache", "ref.python"]

# Markdown; pages with code cells run when the site is built.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True

# Tutorials: scripts that run when the site is built, with their pictures.
sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "filename_pattern": r"/\d",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "capture_repr": ("_repr_html_", "__repr__"),
    "matplotlib_animations": False,
}

# The Python API. Names of other libraries lead nowhere, because the site is built without a network.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = True
napoleon_use_ivar = True
napoleon_use_rtype = False  # a colon in what is returned makes no type
nitpick_ignore_regex = [
    (r"py:.*", r"(?!privmed\.)\w+(\.\w+)+"),
    (r"py:.*", r"privmed\..*\.(T|Name)|AUTO|Loss|Writer|T|Tensor|Module|Generator|Path|Any|Callable"),
    (r"py:class", r"[a-z_]+"),
]

html_theme = "pydata_sphinx_theme"
html_title = f"privmed {release}"
html_static_path = ["_static"]
html_css_files = ["privmed.css"]
html_js_files = ["boards.js"]
html_show_search_summary = False  # it would fetch pages, which a browser refuses from the file system
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "privmed"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {
        "generated/benchmarks/*": [],  # wide tables need the room
        **{at: ["page-toc"] for at in ("*", "generated/methods/*", "generated/tutorials/*", "generated/reference/**")},
    },
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "back_to_top_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
