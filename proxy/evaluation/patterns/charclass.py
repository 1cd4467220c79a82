"""Classes in brackets: unions, intersections and negations, as the JDK reads them."""

from __future__ import annotations

from collections.abc import Callable

from proxy.evaluation.patterns.charset import NOTHING, CharSet, intersect, negate, union
from proxy.evaluation.patterns.escapes import Escapes
from proxy.evaluation.patterns.folding import fold_in_class, fold_range

_BACKSLASH, _AND, _DASH, _OPEN, _CLOSE, _CARET = map(ord, "\\&-[]^")

Later = Callable[[], CharSet]
"""A set that is known when its class ends."""


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
        self._singles: CharSet = NOTHING
        self._pending = False
        self._before: Later | None = None
        self._latest: Later | None = None

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
            elif code == _CLOSE and (self._before is not None or self._pending):
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
            self._join(self._all_singles)
        found = self._before() if self._before is not None else NOTHING
        return negate(found) if negated else found

    def _all_singles(self) -> CharSet:
        return self._singles

    def _nested(self, *, closes: bool = True) -> Later:
        found = self._scanner._class(closes=closes)  # noqa: SLF001  two halves of one reader
        return lambda: found

    def _join(self, later: Later) -> None:
        self._before = later if self._before is None else _union(self._before, later)

    def _is_intersection(self) -> bool:
        if self._scanner.next() == _AND:
            return True
        self._scanner.unread()
        return False

    def _intersect(self) -> None:
        right = self._right_side()
        if self._pending:
            if self._before is None:
                self._latest = self._all_singles
            self._join(self._all_singles)
            self._pending = False
        if right is not None:
            self._latest = right
        if self._latest is None:
            raise self._scanner.refuse("Bad class syntax")
        self._before = self._latest if self._before is None else _both(self._before, self._latest)

    def _right_side(self) -> Later | None:
        scanner = self._scanner
        right: Later | None = None
        code = scanner.next()
        while code not in (_CLOSE, _AND):
            if code == _OPEN:
                part = self._nested()
            else:
                scanner.unread()
                part = self._nested(closes=False)
            right = part if right is None else _union(right, part)
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
            self._singles = union(self._singles, folded)
            self._pending = True
            self._latest = None
        else:
            self._add(folded)

    def _add(self, charset: CharSet) -> None:
        self._latest = lambda: charset
        self._join(self._latest)


def _union(left: Later, right: Later) -> Later:
    return lambda: union(left(), right())


def _both(left: Later, right: Later) -> Later:
    return lambda: intersect(left(), right())
