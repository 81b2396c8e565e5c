"""The sections in which photographs are looked at: the five views, doubtful labels, pictures that are there twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..suspects import Suspect
from ..twins import Group
from .facts import Facts
from .markup import count, folded, name, section, share, text
from .views import View

SUSPECTS = 12
GROUPS = 12
MEMBERS = 4
Sources = Mapping[Path, str]


def wanted(facts: Facts, views: Sequence[View]) -> list[Path]:
    """Every photograph that these sections show."""
    items = facts.examination.items
    paths = [facts.valid.paths[index] for view in views for index in view.indices]
    paths += [items[suspect.index].path for suspect in facts.examination.suspects[:SUSPECTS]]
    shown = facts.examination.groups[:GROUPS]
    return paths + [items[index].path for group in shown for index in group.members[:MEMBERS]]


def looks(facts: Facts, views: Sequence[View], sources: Sources) -> str:
    """The five views of the lesson."""
    parts = []
    for view in views:
        cards = "".join(_answered(facts, index, sources) for index in view.indices)
        shown = f'<div class="photos">{cards}</div>' if cards else "<p>There is none.</p>"
        parts.append(f'<h3>{view.title}</h3><p class="soft">{view.words}</p>{shown}')
    return section("photographs", "Look at the photographs", *parts)


def doubts(facts: Facts, sources: Sources) -> str:
    """Suspected label errors."""
    found = facts.examination.suspects
    about = (
        "<p>Each photograph of the training and validation sets was judged by a classifier that had not seen it. "
        "Suspected is what contradicts its label more clearly than is usual for its class (confident learning, "
        '<a href="https://doi.org/10.1613/jair.1.12125">Northcutt, Jiang and Chuang 2021</a>). '
        "A suspicion is no proof: look before you move one.</p>"
    )
    if not found:
        about += "<p>No label is suspected. With few photographs, or when errors follow a pattern, some go unseen.</p>"
        return section("labels", "Suspected label errors", about)
    cards = "".join(_suspected(facts, suspect, sources) for suspect in found[:SUSPECTS])
    rest = "".join(f"<li>{_suspicion(facts, suspect)}</li>" for suspect in found[SUSPECTS:])
    more = folded(f"{count(len(found) - SUSPECTS, 'more')}", f"<ul>{rest}</ul>") if rest else ""
    return section("labels", "Suspected label errors", about, f'<div class="photos">{cards}</div>', more)


def repeats(facts: Facts, sources: Sources) -> str:
    """Duplicates, near-duplicates and leaks."""
    groups, items = facts.examination.groups, facts.examination.items
    leaks = sum(group.leaks(items) for group in groups)
    about = (
        "<p>The same bytes (SHA-256), or the same picture saved, scaled or mirrored anew: near in the network's "
        "features, and a perceptual hash of the pixels agrees. Pictures that were cropped a good deal go unseen.</p>"
    )
    if not groups:
        return section("duplicates", "Duplicates and leaks", about, "<p>No picture was found twice.</p>")
    verdict = f"<p>{count(len(groups), 'picture')} found more than once; no split shares one with another.</p>"
    if leaks:
        verdict = (
            f'<p class="note"><b>{count(leaks, "leak")}:</b> the same picture in more than one split. What is measured '
            "on such photographs is memory, not skill: keep each picture in one split.</p>"
        )
    cards = "".join(_group(facts, group, sources) for group in groups[:GROUPS])
    rest = "".join(f"<li>{', '.join(_named(facts, group))}</li>" for group in groups[GROUPS:])
    more = folded(f"{count(len(groups) - GROUPS, 'more')}", f"<ul>{rest}</ul>") if rest else ""
    return section("duplicates", "Duplicates and leaks", about, verdict, f'<div class="groups">{cards}</div>', more)


def unread(facts: Facts) -> str:
    """What was set aside."""
    items = "".join(f"<li><bdi>{text(i['file'])}</bdi>: {text(i['why'])}</li>" for i in facts.result["quarantined"])
    if not items:
        return ""
    about = "<p>These were left out of the training; in the test set they are predicted as the share of each class.</p>"
    return section("unread", "Could not be read", about, f"<ul>{items}</ul>")


def _answered(facts: Facts, index: int, sources: Sources) -> str:
    valid = facts.valid
    guess, label = int(valid.guesses[index]), int(valid.labels[index])
    said = f"{text(facts.classes[guess])} {share(float(valid.probabilities[index, guess]))}"
    if guess == label:
        words, alt = f'<span class="good">&#10003; {said}</span>', f"{said}, right"
    else:
        true = text(facts.classes[label])
        words, alt = f'<span class="bad">&#10007; {said}</span><br>is {true}', f"taken for {said}, is {true}"
    return _card(valid.paths[index], facts.root, sources, words, alt)


def _suspected(facts: Facts, suspect: Suspect, sources: Sources) -> str:
    likely, label = text(facts.classes[suspect.likely]), text(facts.classes[suspect.label])
    words = f'labelled <span class="bad">{label}</span><br>looks like {likely} {share(suspect.other)}'
    path = facts.examination.items[suspect.index].path
    return _card(path, facts.root, sources, words, f"labelled {label}, looks like {likely}")


def _suspicion(facts: Facts, suspect: Suspect) -> str:
    likely, label = text(facts.classes[suspect.likely]), text(facts.classes[suspect.label])
    where = name(facts.examination.items[suspect.index].path, facts.root)
    return f"{where}: labelled {label}, looks like {likely} ({share(suspect.other)})"


def _group(facts: Facts, group: Group, sources: Sources) -> str:
    items = facts.examination.items
    leaks = group.leaks(items)
    words = ["the same bytes" if group.exact else "the same picture"]
    if leaks:
        splits = [split for split in ("train", "valid", "test") if split in {items[i].split for i in group.members}]
        words.insert(0, f'<span class="bad">Leak: {" and ".join(splits)}</span>')
    if group.contradicts(items):
        words.append('<span class="bad">in two classes</span>')
    shown = group.members[:MEMBERS]
    cards = "".join(
        _card(items[index].path, facts.root, sources, text(items[index].split), f"in {items[index].split}")
        for index in shown
    )
    hidden = len(group.members) - len(shown)
    more = f'<p class="soft">and {count(hidden, "more")}</p>' if hidden else ""
    kind = "group leak" if leaks else "group"
    return f'<div class="{kind}">{" &middot; ".join(words)}<div class="photos">{cards}</div>{more}</div>'


def _named(facts: Facts, group: Group) -> list[str]:
    return [name(facts.examination.items[index].path, facts.root) for index in group.members]


def _card(path: Path, root: Path, sources: Sources, words: str, alt: str) -> str:
    where = name(path, root)
    image = '<span class="none">cannot be shown</span>'
    if path in sources:
        image = f'<img src="{sources[path]}" alt="{text(path.name)}: {alt}" loading="lazy">'
    return f'<figure class="photo">{image}<figcaption>{words}<small>{where}</small></figcaption></figure>'
