"""The loop that turns many texts into embeddings: tokenised ahead, sorted by length, filled by tokens.

A chunk of texts is tokenised, sorted from long to short and cut into micro-batches, while the next chunk is being
tokenised by another thread. So the tokens of two chunks are in memory, however many texts there are; the lengths within
a chunk are so close that sorting all texts at once would save no padding worth having, and each text is tokenised once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch

from sharpen.data.dedup import select, unique_texts
from sharpen.data.text_type import TextType, title
from sharpen.embeddings.sharding import Shard, ShardBatch, split_by_tokens
from sharpen.errors import StepFailed
from sharpen.hardware import allocator
from sharpen.hardware.thread_pool import map_in_threads, worker_count
from sharpen.models.encoder import Encoder
from sharpen.models.micro_batches import default_token_budget, padded_length
from sharpen.progress import Reporter

logger = logging.getLogger(__name__)

# Most tokens of a chunk: 128 MiB as int32, and two thousand micro-batches of the default size.
CHUNK_TOKENS = 2**25
# Texts that are tokenised in one call; after it their tokens become arrays, a ninth of the size of Python's lists.
TOKENIZED_AT_ONCE = 256

T = TypeVar("T")
Done = Callable[[np.ndarray, np.ndarray], None]


@dataclass
class TokenBudget:
    """Tokens of one micro-batch, padding included. It shrinks when memory runs out, and stays so.

    Attributes:
        tokens: how many there may be.
        work: what is done with them, for messages.
        single: what cannot be done at all when a single row does not fit.
        lower: the settings that make a row shorter.
    """

    tokens: int
    work: str = "encoding"
    single: str = "encode a single text"
    lower: str = "encoder.passage_max_len or encoder.query_max_len"

    @classmethod
    def of(cls, encoder: Encoder) -> TokenBudget:
        """`EncoderSettings.batch_tokens`, else what suits the device."""
        return cls(encoder.settings.batch_tokens or default_token_budget(encoder.device))

    def shrink(self, rows: int, longest: int) -> None:
        """Take half of the micro-batch of so many rows, the longest of so many tokens, that did not fit.

        Raises:
            StepFailed: it was a single row.
        """
        if rows == 1:
            raise StepFailed(
                f"not enough memory to {self.single} of {longest:,} tokens; lower {self.lower}, close what else uses "
                "the memory, or take a smaller model"
            )
        padded = padded_length(longest)
        self.tokens = max(padded, rows * padded // 2)
        logger.warning(f"note: memory ran out; {self.work} goes on with {self.tokens:,} tokens at once")


def encode(
    encoder: Encoder, texts: Sequence[str], kind: TextType, instructions: Sequence[str | None] | None = None
) -> np.ndarray:
    """Embeddings (n, d, float32) of n texts, each distinct one computed once; arguments as for `Encoder.tokenize`."""
    unique = unique_texts(texts, instructions)
    vectors = np.empty((len(unique), encoder.dimension), dtype=np.float32)

    def keep(rows: np.ndarray, found: np.ndarray) -> None:
        vectors[rows] = found

    distinct, given = select(unique.first_index, texts, instructions)
    encode_rows(encoder, distinct, kind, given, np.arange(len(unique)), keep)
    return vectors[unique.inverse]


def encode_rows(
    encoder: Encoder,
    texts: Sequence[str],
    kind: TextType,
    instructions: Sequence[str | None] | None,
    rows: np.ndarray,
    done: Done,
    share: Shard | None = None,
) -> None:
    """Encode some of the texts, and hand over each micro-batch when it is computed.

    Which texts share a micro-batch depends on `texts` and on the rows that are still to be done, but neither on the
    number of processes nor on how often the work was broken off: what is left when whole micro-batches are done is cut
    as before.

    Args:
        encoder: the model; it is in evaluation mode meanwhile.
        texts, kind, instructions: as for `Encoder.tokenize`.
        rows: which of the texts, ascending.
        done: receives the rows of a micro-batch (m,) and their embeddings (m, d, float32).
        share: the part of the work that is this process's; all of it by default.

    Raises:
        StepFailed: not even one text fits into the memory.
    """
    share = share or Shard()
    chunks = chunks_of(rows, encoder.max_lengths[kind])
    if not chunks:
        return
    budget = TokenBudget.of(encoder)
    tokens_at_once = budget.tokens

    def tokens_of(rows: np.ndarray) -> list[np.ndarray]:
        return tokenized(encoder, texts, kind, instructions, rows)

    with eval_mode(encoder), share.progress(title(kind)) as reporter:
        expected = TokenEstimate(reporter, sum(len(texts[row]) for row in rows.tolist()))
        for chunk, work in prefetch(lambda chunk: share.plan(chunk, tokens_of, tokens_at_once), chunks):
            expected.add(sum(len(texts[row]) for row in chunk.tolist()), work.tokens_of_all)
            for parts in _encode_in_threads(encoder, kind, work, budget):
                for part, vectors in parts:
                    done(work.rows[part], vectors)
                    reporter.advance(work.progress_scale * sum(len(work.tokens[row]) for row in part))
    allocator.release_freed_memory()


def _encode_in_threads(
    encoder: Encoder, kind: TextType, work: ShardBatch, budget: TokenBudget
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """What `encode_batch` gives for each micro-batch; on a CPU every core has one of its own."""

    def piece(batch: np.ndarray) -> Callable[[], list[tuple[np.ndarray, np.ndarray]]]:
        return lambda: list(encode_batch(encoder, kind, work.tokens, batch, budget))

    return map_in_threads(
        map(piece, work.batches), worker_count(encoder.device, len(work.batches)), lambda: inference_context(encoder)
    )


def chunks_of(rows: np.ndarray, max_length: int) -> list[np.ndarray]:
    """The rows (ascending), chunk by chunk; a row's chunk depends on nothing but the row and the longest length."""
    size = max(1024, CHUNK_TOKENS // max_length)
    borders = np.flatnonzero(np.diff(rows // size)) + 1
    return [part for part in np.split(rows, borders) if len(part)]


def tokenized(
    encoder: Encoder, texts: Sequence[str], kind: TextType, instructions: Sequence[str | None] | None, rows: np.ndarray
) -> list[np.ndarray]:
    """Token ids (int32) of these `rows` (n,) of the texts; other arguments as for `Encoder.tokenize`."""
    found: list[np.ndarray] = []
    for start in range(0, len(rows), TOKENIZED_AT_ONCE):
        part: list[int] = rows[start : start + TOKENIZED_AT_ONCE].tolist()
        given = [instructions[row] for row in part] if instructions else None
        found += [np.array(ids, dtype=np.int32) for ids in encoder.tokenize([texts[row] for row in part], kind, given)]
    return found


def prefetch(prepare: Callable[[np.ndarray], T], chunks: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, T]]:
    """Each chunk with what `prepare` makes of it; the next one is prepared meanwhile."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize")
    try:
        coming = [pool.submit(prepare, chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            prepared = coming.pop().result()
            coming += [pool.submit(prepare, following) for following in chunks[number + 1 : number + 2]]
            yield chunk, prepared
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def encode_batch(
    encoder: Encoder, kind: TextType, tokens: Sequence[np.ndarray], batch: np.ndarray, budget: TokenBudget
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Embeddings of one micro-batch, in smaller parts where the memory asks for it.

    Args:
        encoder: the model.
        kind: of the texts.
        tokens: token ids of all texts of the chunk.
        batch: which of them, from long to short.
        budget: what fits; it shrinks here.

    Yields:
        texts of the chunk (m,), and their embeddings (m, d, float32).
    """
    lengths = np.array([len(tokens[row]) for row in batch])

    def embed_texts(positions: np.ndarray) -> np.ndarray:
        rows = [tokens[row] for row in batch[positions]]
        return encoder(**encoder.pad(cast("Sequence[Sequence[int]]", rows)), kind=kind).cpu().numpy()

    for positions, vectors in with_oom_retry(np.arange(len(batch)), lengths, budget, embed_texts):
        yield batch[positions], vectors


def with_oom_retry(
    order: np.ndarray, lengths: np.ndarray, budget: TokenBudget, compute: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What `compute` gives for rows, micro-batch by micro-batch; a smaller one each time that memory runs out.

    Args:
        order: the rows, from long to short.
        lengths: tokens of every row.
        budget: what fits; it shrinks here.
        compute: rows -> their result.

    Yields:
        rows of a micro-batch, and what was computed for them.

    Raises:
        StepFailed: not even one row fits.
    """
    waiting = [order]
    while waiting:
        rows = waiting.pop()
        if len(parts := split_by_tokens(rows, lengths, budget.tokens)) > 1:
            waiting += reversed(parts)
            continue
        found = None
        try:
            found = compute(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # outside of the handler: there the traceback still holds the activations
        if found is not None:
            yield rows, found
            continue
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        budget.shrink(len(rows), int(lengths[rows[0]]))
        waiting.append(rows)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = str(error).lower()
    known = ("not enough memory", "can't allocate memory", "out of memory", "cublas_status_alloc_failed")
    return isinstance(error, RuntimeError) and any(words in message for words in known)


@contextmanager
def eval_mode(encoder: Encoder) -> Iterator[None]:
    """The encoder without dropout and gradients."""
    was_training = encoder.training
    encoder.eval()
    try:
        with inference_context(encoder):
            yield
    finally:
        encoder.train(was_training)


@contextmanager
def inference_context(encoder: Encoder) -> Iterator[None]:
    """No gradients in this thread; weights that are computed with in bf16 are cast once, not each time.

    The cast weights stay in memory meanwhile: half of what the weights themselves take.
    """
    with torch.inference_mode(), encoder.autocast():
        yield


class TokenEstimate:
    """How many tokens there will be, when only some of the texts are tokenised: as many a character as so far."""

    def __init__(self, reporter: Reporter, characters: int) -> None:
        self.reporter, self.left = reporter, characters
        self.characters = self.tokens = 0

    def add(self, characters: int, tokens: int) -> None:
        """Count what was just tokenised, and tell the total."""
        self.left -= characters
        self.characters += characters
        self.tokens += tokens
        self.reporter.expect(self.tokens + self.left * self.tokens / max(1, self.characters))
