"""Classes in brackets: unions, intersections and negations, as the JDK reads them."""

from __future__ import annotations

from collections.abc import Callable

from proxy.evaluation.patterns.charset import NOTHING, CharSet, Spans, intersect, negate, union
from proxy.evaluation.patterns.escapes import Escapes
from proxy.evaluation.patterns.folding import fold_in_class, fold_range

_BACKSLASH, _AND, _DASH, _OPEN, _CLOSE, _CARET = map(ord, "\\&-[]^")

Combine = Callable[[CharSet, CharSet], CharSet]


class _Singles:
    """Stands for the table of single characters, whatever it will hold when the class ends."""


_SINGLES = _Singles()


class Classes(Escapes):
    """A scanner that reads classes."""

    def char_class(self) -> CharSet:
        """Read a class, the cursor on its opening bracket."""
        return self._class(closes=True)

    def _class(self, *, closes: bool) -> CharSet:
        self.descend()
        found = _ClassReader(self, closes=closes).read()
        self.ascend()
        return found


class _ClassReader:
    """Reads one pair of brackets, or what stands right of `&&` without brackets.

    Java collects the single characters of a class (up to U+00FF) in one table and joins that
    table by reference; characters after an intersection thereby count left of it as well. So
    everything is combined late, when the class ends.
    """

    def __init__(self, scanner: Classes, *, closes: bool) -> None:
        self._scanner = scanner
        self._closes = closes
        self._singles: list[Spans] = []
        self._pending = False
        self._steps: list[tuple[Combine, CharSet | _Singles]] = []
        self._latest: CharSet | _Singles | None = None

    def read(self) -> CharSet:
        scanner = self._scanner
        code = scanner.next()
        negated = code == _CARET and scanner.codes[scanner.cursor - 1] == _OPEN
        if negated:
            code = scanner.next()
        while True:
            if code == _OPEN:
                self._latest = self._nested()
                self._join(self._latest)
            elif code == _AND and self._is_intersection():
                self._intersect()
            elif code == _CLOSE and (self._steps or self._pending):
                return self._finish(negated=negated)
            elif code == 0 and scanner.ended():
                raise scanner.refuse("Unclosed character class")
            else:
                self._item()
            code = scanner.peek()

    def _finish(self, *, negated: bool) -> CharSet:
        if self._closes:
            self._scanner.next()
        if self._pending:
            self._join(_SINGLES)
        found = self._combined()
        return negate(found) if negated else found

    def _combined(self) -> CharSet:
        """Combine all steps, unions in one go as there may be thousands."""
        singles = union(*self._singles)
        found: CharSet = NOTHING
        joined: list[CharSet] = []
        for combine, operand in self._steps:
            part = singles if isinstance(operand, _Singles) else operand
            if combine is union:
                joined.append(part)
            else:
                found = combine(union(found, *joined), part)
                joined.clear()
        return union(found, *joined)

    def _nested(self, *, closes: bool = True) -> CharSet:
        return self._scanner._class(closes=closes)  # noqa: SLF001  two halves of one reader

    def _join(self, operand: CharSet | _Singles) -> None:
        self._steps.append((union, operand))

    def _is_intersection(self) -> bool:
        if self._scanner.next() == _AND:
            return True
        self._scanner.unread()
        return False

    def _intersect(self) -> None:
        right = self._right_side()
        if self._pending:
            if not self._steps:
                self._latest = _SINGLES
            self._join(_SINGLES)
            self._pending = False
        if right is not None:
            self._latest = right
        if not self._steps:
            if self._latest is None:
                raise self._scanner.refuse("Bad class syntax")
            self._join(self._latest)
        else:
            # Without a right side JDK 17 fails on what is left of it; nothing matches then.
            self._steps.append((intersect, NOTHING if self._latest is None else self._latest))

    def _right_side(self) -> CharSet | None:
        scanner = self._scanner
        right: CharSet | None = None
        code = scanner.next()
        while code not in (_CLOSE, _AND):
            if code == _OPEN:
                part = self._nested()
            else:
                scanner.unread()
                part = self._nested(closes=False)
            right = part if right is None else union(right, part)
            code = scanner.peek()
        return right

    def _item(self) -> None:
        scanner = self._scanner
        if scanner.peek() == _BACKSLASH:
            scanner.next_escaped()
            if scanner.codes[scanner.cursor] in (ord("p"), ord("P")):
                return self._add(scanner.property_class())
            in_range = scanner.codes[scanner.cursor + 1] == _DASH
            scanner.unread()
            first = scanner.escape_in_class(in_range=in_range)
            if not isinstance(first, int):
                return self._add(first)
        else:
            first = scanner.peek()
            scanner.next()
        if scanner.peek() == _DASH and scanner.codes[scanner.cursor + 1] not in (_OPEN, _CLOSE):
            return self._add(fold_range(first, self._range_end(first), scanner.flags))
        return self._single(first)

    def _range_end(self, first: int) -> int:
        scanner = self._scanner
        scanner.next()
        last: int | CharSet = scanner.peek()
        if last == _BACKSLASH:
            last = scanner.escape_in_class(in_range=True)
        else:
            scanner.next()
        if not isinstance(last, int) or last < first:
            raise scanner.refuse("Illegal character range")
        return last

    def _single(self, code: int) -> None:
        folded = fold_in_class(code, self._scanner.flags)
        if code < 0x100 and (max(high for _, high in folded.spans) < 0x100):
            self._singles.append(folded)
            self._pending = True
            self._latest = None
        else:
            self._add(folded)

    def _add(self, charset: CharSet) -> None:
        self._latest = charset
        self._join(charset)
