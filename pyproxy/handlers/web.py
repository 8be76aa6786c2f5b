"""Pages for people: what is served, how to use it, search, a project's versions and files. Values in, HTML text out.

No scripts, no pictures, no link that leaves the proxy. Every link is relative, so that pages work below any prefix of a
reverse proxy; nothing is ever built from a Host header. Whatever came from a remote is escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from pyproxy.errors import BadName
from pyproxy.handlers.markup import count, document, instant, link, nbytes, note, path, table, tag, text
from pyproxy.model import File, ProjectPage, as_project, normalised, package_type, version_of

SHOWN_LIMIT: Final = 500
"""Entries of a list that a page shows: files, or projects found."""

_KINDS: Final = {"bdist_wheel": "wheel", "sdist": "source", "bdist_egg": "egg"}
_NONE: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionView:
    """What the pages say of a distribution. `public_url` is the whole proxy's address, None where it is not known."""

    name: str
    base_path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    remotes: tuple[str, ...] = ()
    default: bool = False
    hidden: bool = False
    takes_uploads: bool = False
    public_url: str | None = None

    @property
    def index_url(self) -> str:
        """The index URL to copy, with a placeholder where the proxy's address is not configured."""
        return f"{self._url}simple/"

    @property
    def upload_url(self) -> str:
        """The URL that twine wants, likewise."""
        return f"{self._url}legacy/"

    @property
    def _url(self) -> str:
        return f"{(self.public_url or 'http://THIS-HOST').rstrip('/')}/pypi/{quote(self.base_path)}/"


def root_page(distributions: Sequence[DistributionView]) -> str:
    """The page at `/`. Hidden distributions are left out."""
    shown = [view for view in distributions if not view.hidden]
    rows = "".join(
        f'<tr><th scope="row"><a href="pypi/{path(view.base_path)}/">{text(view.name)}</a>'
        f"{tag('default') if view.default else ''}</th><td><code>pypi/{text(view.base_path)}/simple/</code></td>"
        f"<td>{text(', '.join(view.remotes)) or _NONE}</td><td>{_labels(view.labels)}</td></tr>\n"
        for view in shown
    )
    body = "<p>A caching proxy and index for Python packages.</p>\n"
    if shown:
        body += table("Distributions", ("Name", "Index", "Remotes", "Labels"), rows)
        body += '<p><a href="distributions">The same list as JSON</a></p>\n'
    else:
        body += "<p>No distribution is listed here.</p>\n"
    preferred = [view for view in shown if view.default] or shown
    if len(preferred) == 1:
        body += _usage(preferred[0])
    return document("pyproxy", [], body)


def distribution_page(
    view: DistributionView, *, query: str = "", matches: Sequence[str] | None = None, trouble: str | None = None
) -> str:
    """The page at `/pypi/{base_path}/`.

    `matches` are the projects found for the `query`, None where they were not looked for; `trouble` is the line shown
    in their place: why the search could not be made.
    """
    query = query.strip()
    body = (
        '<form method="get" role="search"><label for="q">Search projects</label>\n'
        f'<input id="q" name="q" type="search" maxlength="250" value="{text(query)}">\n<button>Search</button></form>\n'
    )
    if query:
        body += _found(query, matches, trouble)
    body += '<p><a href="simple/">All projects (simple index)</a></p>\n'
    body += f"<p>Pulls through from: {text(', '.join(view.remotes))}</p>\n" if view.remotes else ""
    body += f"<p>Labels: {_labels(view.labels)}</p>\n" if view.labels else ""
    return document(view.name, [(_up(view), "pyproxy")], body + _usage(view))


def project_page(view: DistributionView, page: ProjectPage) -> str:
    """The page at `/pypi/{base_path}/project/{project}/`: the newest version first, SHOWN_LIMIT files at the most.

    Takes 18 ms for a project of 4,400 files, so such a one is better rendered off the loop.
    """
    versions = _by_version(page)
    simple = f"../../simple/{path(page.name)}/"
    body = ""
    if page.status is not None and page.status != "active":
        reason = f": {text(page.status_reason)}" if page.status_reason else ""
        body += note(f"This project is <strong>{text(page.status)}</strong>{reason}")
    body += f"<p>{count(len(versions), 'version')}, {count(len(page.files), 'file')}.</p>\n"
    body += f'<p><a href="{simple}">This project on the simple index</a></p>\n'
    body += _placeholder(view) + _commands([("pip", f"pip install --index-url {view.index_url} {page.name}")])
    for what, urls in (("Tracks", page.tracks), ("Alternate locations", page.alternate_locations)):
        body += f"<p>{what}: {text(', '.join(urls))}</p>\n" if urls else ""
    room = SHOWN_LIMIT
    for version, files in versions:
        body += _version(version, files[:room], page) if room else ""
        room -= min(room, len(files))
    body += _rest(len(page.files) - SHOWN_LIMIT, "file", simple)
    return document(page.name, [(_up(view, 2), "pyproxy"), ("../../", view.name)], body)


# -- how to use it


def _usage(view: DistributionView) -> str:
    url = view.index_url
    commands = [
        ("pip, once", f"pip install --index-url {url} PROJECT"),
        ("pip, for good", f"pip config set global.index-url {url}"),
        ("uv, once", f"uv pip install --index-url {url} PROJECT"),
        ("uv, in pyproject.toml", f'[[tool.uv.index]]\nurl = "{url}"\ndefault = true'),
        ("poetry", f"poetry source add --priority=primary {shlex.quote(view.name)} {url}"),
        ("pdm", f"pdm config pypi.url {url}"),
        ("pipenv, in Pipfile", f'[[source]]\nname = "{view.name}"\nurl = "{url}"\nverify_ssl = true'),
    ]
    if view.takes_uploads:
        commands += [
            ("upload with twine", f"twine upload --repository-url {view.upload_url} dist/*"),
            ("upload with uv", f"uv publish --publish-url {view.upload_url} --check-url {url} dist/*"),
        ]
    body = f"<h2>How to use {text(view.name)}</h2>\n{_placeholder(view)}{_commands(commands)}"
    if url.startswith("http:"):
        body += "<p>From another machine pip takes plain http only with <code>--trusted-host</code> and the host.</p>\n"
    return body


def _placeholder(view: DistributionView) -> str:
    if view.public_url is not None:
        return ""
    return (
        "<p>The index is on this host: what your browser shows before <code>/pypi/</code> goes in place of "
        "<code>http://THIS-HOST</code>.</p>\n"
    )


def _commands(commands: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{text(what)}</dt><dd><pre><code>{text(how)}</code></pre></dd>\n" for what, how in commands)
    return f"<dl>\n{items}</dl>\n"


# -- search


def _found(query: str, matches: Sequence[str] | None, trouble: str | None) -> str:
    body = f"<section><h2>Search for {text(query)}</h2>\n"
    try:
        # Also where there is no list: a remote answers for a name though it lists none.
        body += f"<p>The project of just this name: {_project_link(as_project(query))}</p>\n"
    except BadName:
        body += "<p>No project can have just this name.</p>\n"
    if trouble is not None:
        body += note(text(trouble))
    elif matches is not None:
        items = "".join(f"<li>{_project_link(name)}</li>\n" for name in matches[:SHOWN_LIMIT])
        more = len(matches) > SHOWN_LIMIT  # who searched stopped somewhere behind
        found = f"More than {count(SHOWN_LIMIT, 'project')}" if more else count(len(matches), "project")
        body += f"<p>{found} found.</p>\n" + (f"<ul>\n{items}</ul>\n" if items else "")
        body += note('The others: see <a href="simple/">the simple index</a>.') if more else ""
    return f"{body}</section>\n"


def _project_link(name: str) -> str:
    return f'<a href="project/{path(normalised(name))}/">{text(name)}</a>'


# -- a project's versions


def _by_version(page: ProjectPage) -> list[tuple[str, list[File]]]:
    """The files under their version as first spelled, the newest first; those whose name tells none at the end."""
    keys: dict[str, Version | str] = {}
    labels: dict[Version | str, str] = {}
    groups: dict[Version | str, list[File]] = {}
    for file in page.files:
        spelled = version_of(file.filename, page.name) or ""
        if spelled not in keys:
            keys[spelled] = _parsed(spelled) or spelled
        key = keys[spelled]
        labels.setdefault(key, spelled)
        groups.setdefault(key, []).append(file)
    ordered: list[Version | str] = [
        *sorted((key for key in groups if isinstance(key, Version)), reverse=True),
        *sorted((key for key in groups if isinstance(key, str)), reverse=True),
    ]
    # The source first, then the wheels by name.
    return [
        (labels[key], sorted(groups[key], key=lambda file: (package_type(file.filename) != "sdist", file.filename)))
        for key in ordered
    ]


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersion:
        return None  # Shown all the same, behind those that can be ordered.


def _version(version: str, files: Sequence[File], page: ProjectPage) -> str:
    parsed = _parsed(version)
    title = version or "Other files"
    tags = tag("pre-release") if parsed is not None and parsed.is_prerelease else ""
    tags += tag("yanked") if all(file.yanked is not False for file in files) else ""
    rows = "".join(_row(file, version, page) for file in files)
    heads = ("File", "Size", "Uploaded", "Python", "More")
    return f"<section><h2>{text(title)}{tags}</h2>\n{table(f'Files of {title}', heads, rows)}</section>\n"


def _row(file: File, version: str, page: ProjectPage) -> str:
    href = f"../../files/{link(file.link)}"
    kind = _KINDS.get(package_type(file.filename) or "", "other")
    more = []
    if file.yanked is not False:
        more.append(f"{tag('yanked')} {text(file.yanked) if isinstance(file.yanked, str) else ''}")
    if file.is_wheel:
        more.append(f'<a href="{href}.metadata">metadata</a>')
    if file.provenance is not None and version:
        where = "/".join(path(part) for part in (page.name, version, file.filename))
        more.append(f'<a href="../../integrity/{where}/provenance">provenance</a>')
    if file.hashes:
        digests = "<br>".join(f"{text(name)} <code>{text(digest)}</code>" for name, digest in file.hashes.items())
        more.append(f"<details><summary>hashes</summary>{digests}</details>")
    return (
        f'<tr><th scope="row"><a href="{href}">{text(file.filename)}</a> <small>{kind}</small></th>'
        f'<td class="size">{nbytes(file.size)}</td><td>{instant(file.upload_time)}</td>'
        f"<td>{text(file.requires_python or '')}</td><td>{' '.join(more)}</td></tr>\n"
    )


# -- where things are


def _up(view: DistributionView, further: int = 0) -> str:
    """From a distribution's page, or `further` folders below it, to the root: a base path may have several segments."""
    return "../" * (view.base_path.count("/") + 2 + further)


def _labels(labels: Mapping[str, str]) -> str:
    return text(", ".join(f"{name}: {value}" for name, value in sorted(labels.items()))) or _NONE


def _rest(number: int, what: str, href: str) -> str:
    return note(f'{count(number, what)} more: see <a href="{href}">the simple index</a>.') if number > 0 else ""
