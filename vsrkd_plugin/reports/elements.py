"""Elements of a page of HTML: whatever text they are given is text in the page, whatever it holds."""

import xml.etree.ElementTree as ET

from vsrkd_plugin.reports.names import printable

Element = ET.Element


def element(tag: str, attributes: dict[str, str] | None = None, *children: Element | str) -> Element:
    """An element with attributes, and with elements and text in it."""
    made = ET.Element(tag, {key: printable(value) for key, value in (attributes or {}).items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                made.text = (made.text or '') + printable(child)
            else:
                last.tail = (last.tail or '') + printable(child)
        else:
            made.append(child)
            last = child
    return made


def to_markup(made: Element) -> str:
    """HTML of an element, escaped."""
    return ET.tostring(made, encoding='unicode', method='html')


def parse_svg(text: str) -> Element:
    """An SVG picture of ours as an element that can stand in a page: no namespaces, no metadata."""
    root = ET.fromstring(text)
    for parent in root.iter():
        parent.tag = _bare(parent.tag)
        parent.attrib = {_bare(key): value for key, value in parent.attrib.items()}
        for child in list(parent):
            if _bare(child.tag) == 'metadata':
                parent.remove(child)
    return root


def _bare(name: str) -> str:
    return name.rpartition('}')[2]
