"""Tokens and money: what was spent, and whether one more request fits."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sharpen.language_model.journal import Record
from sharpen.language_model.request import ChatRequest
from sharpen.language_model.settings import LanguageModelSettings

# A token of English is about four characters, of other languages and code fewer: rather too many than too few.
CHARACTERS_A_TOKEN = 2.5


def estimated_tokens(characters: int) -> int:
    """About how many tokens so many characters are, rather more."""
    return int(characters / CHARACTERS_A_TOKEN) + 1


@dataclass
class Budget:
    """What the answers cost, answers of earlier runs that are used again included; safe between threads.

    Every request reserves the most that it may cost before it is made, so that the budget is not exceeded by what is
    under way.

    Attributes:
        input_tokens, output_tokens: of all answers.
        estimated: answers whose tokens the endpoint did not count.
    """

    settings: LanguageModelSettings
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0
    _reserved: dict[str, tuple[int, int]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def cost(self) -> float:
        """Of all answers, in the currency of the prices."""
        return self._price(self.input_tokens, self.output_tokens)

    def _price(self, given: int, written: int) -> float:
        return (given * self.settings.input_price + written * self.settings.output_price) / 1e6

    def reserve(self, request: ChatRequest) -> bool:
        """Whether the request fits into the budget; if so, what it may cost is set aside until `spend` or `release`.

        Where it fits only if those under way cost less than they may, this waits for them.
        """
        most = estimated_tokens(request.characters), self.settings.max_output_tokens
        with self._changed:
            while not self._fits(*most):
                if not self._reserved:
                    return False
                self._changed.wait()
            self._reserved[request.key] = most
            return True

    def _fits(self, more_given: int, more_written: int) -> bool:
        given = self.input_tokens + sum(part for part, _ in self._reserved.values()) + more_given
        written = self.output_tokens + sum(part for _, part in self._reserved.values()) + more_written
        limit, money = self.settings.max_tokens, self.settings.max_cost
        within = limit is None or given + written <= limit
        return within and (money is None or self._price(given, written) <= money)

    def release(self, request: ChatRequest) -> None:
        """Give back what was set aside for a request that came to nothing."""
        with self._changed:
            self._reserved.pop(request.key, None)
            self._changed.notify_all()

    def spend(self, record: Record) -> None:
        """Count an answer."""
        with self._changed:
            self._reserved.pop(record.request, None)
            self._changed.notify_all()
            self.input_tokens += record.input_tokens
            self.output_tokens += record.output_tokens
            self.estimated += record.estimated
