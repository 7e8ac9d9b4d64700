"""Where the records of a CSV file begin, found in one pass over its bytes.

By the rules of Arrow's reader, which counts the same records afterwards: a quote opens a field only
at its beginning, anywhere else outside a quoted field it is text (`5" disk`); within, it is doubled
or closes; a line ends with CR, LF or both; blank lines are no records.
"""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

_CR, _LF = 0x0D, 0x0A
_NONE: Positions = np.empty(0, np.int64)


class RecordScan:
    """Takes the bytes of a file from a record's beginning on, in pieces of any size.

    They must be of an encoding in which the ASCII characters are their own bytes, and those bytes
    nothing else. Memory is a small multiple of the largest piece.
    """

    def __init__(self, delimiter: str, quote: str) -> None:
        self._quote = ord(quote)
        self._before_field = np.zeros(256, np.bool_)
        self._before_field[[ord(delimiter), _CR, _LF]] = True
        self._last = _LF  # the byte before the next piece
        self._is_quoted = False
        self._has_just_closed = False
        self._at_line_start = True
        self._passed = 0
        self.records = 0
        """How many records have begun."""

    @property
    def is_quoted(self) -> bool:
        """Whether the bytes so far end within a quoted field."""
        return self._is_quoted

    def feed(self, piece: bytes) -> Positions:
        """The positions, counted from the first byte of all, of the records that begin in it."""
        if not piece:
            return _NONE
        data = np.frombuffer(piece, np.uint8)
        ends = np.flatnonzero((data == _LF) | (data == _CR))
        was_quoted = self._is_quoted
        toggles = self._toggles(data)
        if was_quoted or len(toggles):
            is_inside = (np.searchsorted(toggles, ends) + was_quoted) % 2 == 1
            ends = ends[~is_inside]
        starts = ends + 1
        if self._at_line_start:
            starts = np.concatenate(([0], starts))
        self._at_line_start = bool(len(starts)) and int(starts[-1]) == len(data)
        if self._at_line_start:
            starts = starts[:-1]
        first_bytes = data[starts]
        begun: Positions = starts[(first_bytes != _LF) & (first_bytes != _CR)] + self._passed
        self._last = int(data[-1])
        self._passed += len(data)
        self.records += len(begun)
        return begun

    def _toggles(self, data: npt.NDArray[np.uint8]) -> Positions:
        """The quotes that open or close a field; a doubled one does both."""
        quotes = np.flatnonzero(data == self._quote)
        if not len(quotes):
            self._has_just_closed = False
            return _NONE
        before = np.empty(len(quotes), np.uint8)
        before[:] = data[quotes - 1]
        if quotes[0] == 0:
            before[0] = self._last
        may_open = self._before_field[before]
        follows = np.empty(len(quotes), np.bool_)  # right behind another quote
        follows[1:] = quotes[1:] == quotes[:-1] + 1
        follows[0] = quotes[0] == 0 and self._has_just_closed
        opening = slice(int(self._is_quoted), None, 2)
        if bool(np.all(may_open[opening] | follows[opening])):
            toggles = quotes
        else:  # some quote is text: those after it change their part
            toggles = self._one_by_one(quotes, may_open, follows)
        self._is_quoted ^= len(toggles) % 2 == 1
        self._has_just_closed = (
            not self._is_quoted and bool(len(toggles)) and int(toggles[-1]) == len(data) - 1
        )
        return toggles

    def _one_by_one(
        self, quotes: Positions, may_open: npt.NDArray[np.bool_], follows: npt.NDArray[np.bool_]
    ) -> Positions:
        is_quoted, has_just_closed = self._is_quoted, self._has_just_closed
        toggles = []
        for position, opens, is_next in zip(
            quotes.tolist(), may_open.tolist(), follows.tolist(), strict=True
        ):
            if is_quoted or opens or (is_next and has_just_closed):
                is_quoted = not is_quoted
                has_just_closed = not is_quoted
                toggles.append(position)
            else:
                has_just_closed = False
        return np.array(toggles, np.int64)
