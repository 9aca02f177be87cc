"""The bi-encoder of RetroMAE and BGE as one module: features of queries and passages in, loss and scores out.

Its names and defaults are those of the published classes (`BiEncoderModel` of RetroMAE and of BGE's first releases,
FlagEmbedding's `BiEncoderOnlyEmbedderModel`); `loss.backward()` is all that a loop of one's own needs. Fine-tuning in
`sharpen.training` reaches much larger batches with the same loss, through a gradient cache.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from sharpen.data.text_type import TextType
from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.losses.distillation import kl_divergence, m3_distillation
from sharpen.losses.infonce import info_nce
from sharpen.models.encoder import Encoder
from sharpen.models.model_hub import assemble_model
from sharpen.settings import EncoderSettings

logger = logging.getLogger(__name__)

Features = Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]


@dataclass
class BiEncoderOutput(ModelOutput):
    """What `BiEncoderModel.forward` returns; loss and scores are None where queries or passages are.

    Attributes:
        loss: scalar, the mean over the queries of the batch; with cross-device negatives over those of all processes.
        scores: (B, M) similarity divided by the temperature, M passages of the batch (of all processes with
            cross-device negatives); (B, G) without in-batch negatives.
        q_reps: (B, d) embeddings of this process's queries.
        p_reps: (B x G, d) embeddings of this process's passages.
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    q_reps: Tensor | None = None
    p_reps: Tensor | None = None


class BiEncoderModel(nn.Module):
    """One encoder for queries and passages, trained by contrast within groups of one positive and G - 1 negatives.

    With `negatives_cross_device` each process returns the loss of the global batch, and its gradient is such that the
    mean over the processes, which DistributedDataParallel takes, is exactly the gradient of one process with all the
    queries. FlagEmbedding lets no gradient through its gather: its contrastive gradient after DDP is 1 / processes of
    this one, while that of `kl_div` has full weight.

    Args:
        model_name: a folder, ``s3://`` address or hub id; safetensors only, no code from it is run.
        normalized: scale embeddings to length 1; `normlized` is the published spelling of the same.
        sentence_pooling_method: ``cls``, ``mean`` or ``last_token``.
        negatives_cross_device: negatives come from the batches of all processes of torch.distributed.
        temperature: divides the scores; 1 unless embeddings are normalised.
        use_inbatch_neg: passages of the batch's other queries are negatives too.
        kd_loss_type: what a teacher's scores do: ``kl_div`` adds to the loss, ``m3_kd_loss`` replaces it.
        sub_batch_size: most texts that are encoded at once; None: all.
        max_length: longest text in tokens that the saved folder names.
        precision: ``fp32``, where an autocast around the call decides, or ``bf16``, or ``auto``.
        attn_implementation: as transformers names it.
        config_name: where the configuration comes from, if not from `model_name`.
        tokenizer_name: where the tokenizer comes from, if not from `model_name`.
        cache_dir: the hub's cache; None: its own default.
        token: for the hub; None: $HF_TOKEN.

    Raises:
        InputError: the model cannot be loaded, or the arguments contradict each other.
    """

    def __init__(
        self,
        model_name: str,
        normalized: bool = False,
        sentence_pooling_method: str = "cls",
        negatives_cross_device: bool = False,
        temperature: float = 1.0,
        use_inbatch_neg: bool = True,
        *,
        kd_loss_type: str = "kl_div",
        sub_batch_size: int | None = None,
        max_length: int = 512,
        precision: str = "fp32",
        attn_implementation: str = "sdpa",
        config_name: str | None = None,
        tokenizer_name: str | None = None,
        cache_dir: str | None = None,
        token: str | None = None,
        normlized: bool | None = None,
    ) -> None:
        super().__init__()
        if kd_loss_type not in ("kl_div", "m3_kd_loss"):
            raise InputError(f"kd_loss_type: must be kl_div or m3_kd_loss, not {kd_loss_type}")
        if temperature <= 0:
            raise InputError(f"temperature: must be above 0, not {temperature}")
        if negatives_cross_device and not use_inbatch_neg:
            raise InputError("negatives_cross_device: needs use_inbatch_neg, whose negatives it takes from all devices")
        settings = EncoderSettings.checked(
            {
                "normalize_embeddings": normalized if normlized is None else normlized,
                "sentence_pooling_method": sentence_pooling_method,
                "query_max_len": max_length,
                "passage_max_len": max_length,
                "precision": precision,
                "attn_implementation": attn_implementation,
            }
        )
        if not settings.normalize_embeddings and temperature != 1.0:
            logger.warning("temperature: set to 1, since scores of embeddings that are not normalised have any size")
            temperature = 1.0
        folder = assemble_model(model_name, config_name, tokenizer_name, cache_dir=cache_dir, token=token)
        self.encoder = Encoder.load(str(folder), settings, training=True)
        self.encoder.address = model_name
        self.train(self.encoder.training)
        self.temperature, self.kd_loss_type, self.sub_batch_size = temperature, kd_loss_type, sub_batch_size
        self.use_inbatch_neg, self.negatives_cross_device = use_inbatch_neg, negatives_cross_device

    def forward(
        self,
        query: Features | None = None,
        passage: Features | None = None,
        teacher_score: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    ) -> BiEncoderOutput:
        """Embeddings, scores and loss of a batch.

        Args:
            query: features of B queries, see `encode`.
            passage: features of B x G passages: of each query in turn its positive, then its negatives.
            teacher_score: (B, G) or flat, a teacher's scores of the passages; softmax over a group is its target.
        """
        q_reps, p_reps = self.encode(query, "query"), self.encode(passage)
        if q_reps is None or p_reps is None:
            return BiEncoderOutput(q_reps=q_reps, p_reps=p_reps)
        loss, scores = self.compute_loss(q_reps, p_reps, teacher_score)
        return BiEncoderOutput(loss=loss, scores=scores, q_reps=q_reps, p_reps=p_reps)

    def encode(self, features: Features | None, kind: TextType = "passage") -> Tensor | None:
        """Embeddings (n, d) of tokenised texts, or None of None.

        Args:
            features: ``input_ids`` and ``attention_mask``, both (n, length), or a list of such parts. Token types have
                no effect: a text alone is all of the first type.
            kind: which tower encodes them, if the model has two.
        """
        if features is None:
            return None
        parts = [features] if isinstance(features, Mapping) else features
        embeddings = []
        for part in parts:
            if unknown := sorted(part.keys() - {"input_ids", "attention_mask", "token_type_ids"}):
                raise InputError(f"features: {unknown[0]} is unknown; pass input_ids and attention_mask")
            ids, mask = part["input_ids"], part["attention_mask"]
            size = self.sub_batch_size or len(ids)
            embeddings += [self.encoder(ids[n : n + size], mask[n : n + size], kind) for n in range(0, len(ids), size)]
        return torch.cat(embeddings)

    def compute_similarity(self, q_reps: Tensor, p_reps: Tensor) -> Tensor:
        """Inner products (..., n, m) of queries (..., n, d) with passages (..., m, d)."""
        return q_reps @ p_reps.transpose(-2, -1)

    def compute_loss(self, q_reps: Tensor, p_reps: Tensor, teacher_score: Any = None) -> tuple[Tensor, Tensor]:
        """Loss and scores of embeddings (B, d) and (B x G, d) of this process; teacher scores as in `forward`."""
        rows = q_reps.shape[0]
        group, rest = divmod(p_reps.shape[0], max(1, rows))
        if rest or not group:
            raise InputError(f"passage: {p_reps.shape[0]} texts for {rows} queries; each needs as many as the others")
        processes = ProcessGroup() if self.negatives_cross_device else None
        columns = torch.arange(group, device=q_reps.device).expand(rows, group)
        if self.use_inbatch_neg:
            passages, first = (p_reps, 0) if processes is None else processes.gather_rows(p_reps)
            scores = self.compute_similarity(q_reps, passages) / self.temperature
            columns = columns + (first + torch.arange(rows, device=q_reps.device).unsqueeze(1) * group)
        else:
            passages = p_reps.reshape(rows, group, -1)
            scores = self.compute_similarity(q_reps.unsqueeze(1), passages).squeeze(1) / self.temperature
        loss = self._sum_over_rows(scores, columns, teacher_score)
        if processes is None or processes.size == 1:
            return loss / rows, scores
        total, total_rows = processes.sum([loss.item(), rows])
        loss = loss * (processes.size / total_rows)
        # the value is that of the global batch, the gradient that of this process's rows
        return loss + (total / total_rows - loss.detach()), scores

    def _sum_over_rows(self, scores: Tensor, columns: Tensor, teacher_score: Any) -> Tensor:
        if teacher_score is None:
            return info_nce(scores, columns[:, 0])
        teacher = torch.as_tensor(teacher_score, dtype=scores.dtype, device=scores.device)
        if teacher.numel() != columns.numel():
            raise InputError(f"teacher_score: {teacher.numel()} scores for {columns.numel()} passages; each needs one")
        teacher = teacher.reshape(columns.shape)
        if self.kd_loss_type == "m3_kd_loss":
            return m3_distillation(scores, columns, teacher, as_given=True)
        return info_nce(scores, columns[:, 0]) + kl_divergence(scores.gather(1, columns), teacher)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Recompute activations layer by layer in the backward pass, as transformers' models do it."""
        for tower in self.encoder.towers.values():
            tower.activation_checkpointing_enable({"use_reentrant": False, **(gradient_checkpointing_kwargs or {})})

    def save(self, output_dir: str | Path) -> None:
        """Write a sentence-transformers folder that gives the same embeddings."""
        self.encoder.save(Path(output_dir))
