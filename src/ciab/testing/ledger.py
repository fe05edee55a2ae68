"""Ledger and Anchors in memory."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from ciab.core.ids import SandboxId
from ciab.core.ports import Anchor
from ciab.core.sandbox import Sandbox
from ciab.core.spans import Span


class MemoryLedger:
    """Ledger. `record` is what the store calls when a save closes a span."""

    def __init__(self) -> None:
        self._spans: list[tuple[Sandbox, Span]] = []

    def record(self, sandbox: Sandbox, span: Span) -> None:
        """Keep what the sandbox cost for a while."""
        self._spans.append((sandbox, span))

    async def by_sandbox(self, sandbox_ids: Collection[SandboxId]) -> Mapping[SandboxId, float]:
        """As the port has it."""
        await asyncio.sleep(0)
        sums: defaultdict[SandboxId, float] = defaultdict(float)
        for sandbox, span in self._spans:
            if sandbox.id in sandbox_ids:
                sums[sandbox.id] += span.usd
        return dict(sums)

    async def by_workspace(self) -> Mapping[str, float]:
        """As the port has it."""
        await asyncio.sleep(0)
        sums: defaultdict[str, float] = defaultdict(float)
        for sandbox, span in self._spans:
            if sandbox.spec.workspace is not None:
                sums[sandbox.spec.workspace] += span.usd
        return dict(sums)

    async def between(self, start: datetime, end: datetime) -> float:
        """As the port has it."""
        await asyncio.sleep(0)
        within = [
            replace(span, since=max(span.since, start), until=min(span.until, end)) for _, span in self._spans
        ]
        return sum((span.usd for span in within if span.since < span.until), 0.0)


class MemoryAnchors:
    """Anchors."""

    def __init__(self) -> None:
        self._kept: dict[str, Anchor] = {}

    async def get(self, name: str) -> Anchor | None:
        """As the port has it."""
        await asyncio.sleep(0)
        return self._kept.get(name)

    async def keep(self, anchors: Mapping[str, Anchor]) -> None:
        """As the port has it. Those that are not named stay."""
        await asyncio.sleep(0)
        self._kept.update(anchors)
