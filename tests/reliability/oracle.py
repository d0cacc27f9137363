"""What is true of each key, and what the ledger had seen of it: by that, every conclusion and every rekey is judged.

A rotation that ends well says that the current key was made after the moment demanded. Where it was not, somebody could
have known in two cases: a look at that very key, before that moment, had been written down in the ledger; or the
cluster's stamp of it, corrected by the cluster's clock, was right. In every other case nobody ever saw the key before
the moment, the cluster says that it was made after it, and it says so of a time before our first sight of it: nothing
refutes that, and it is only counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from element_rekey.codec import encode
from element_rekey.rules.memory import REMEMBERED_KEYS, STAMP_TOLERANCE
from local.simulator import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from element_rekey.cluster import MasterKey
    from element_rekey.records import ClusterMemory, Execution, Rotation
    from local.simulator import Rekey
    from tests.fakes import FakeLedger
    from tests.reliability.kept_stamps import ClusterThatKeepsStamps
    from tests.reliability.step_harness import SteppedExecution

WHOLE_SECONDS = timedelta(seconds=3)
"""How far a right stamp may be off: it and the clock it is corrected by are given in whole seconds."""


@dataclass
class Look:
    """A function's last look at a master key; ``at`` is just after it, and None as long as nothing came after it."""

    key: MasterKey | None
    at: datetime | None = None


class Oracle:
    """Knows the true times of all keys, and what the ledger was told of them."""

    def __init__(
        self, clock: Callable[[], datetime], clusters: Mapping[str, ClusterThatKeepsStamps], ledger: FakeLedger
    ) -> None:
        self._clock = clock
        self._clusters = clusters
        self._ledger = ledger
        self.first_sights: dict[tuple[str, str], datetime] = {}
        """When a key was first seen by a function that then wrote it down in the memory of its cluster."""
        self.sent: dict[str, list[SteppedExecution]] = {name: [] for name in clusters}
        """Whose rekeys were sent to each cluster, in order, whatever became of them."""
        self.begun: list[tuple[SteppedExecution, Rekey]] = []
        """The rekeys of ours, each with the execution that sent it."""
        self.read_away: set[tuple[str, int]] = set()
        """The results, by cluster and handle, that somebody else read away."""
        self._memories: dict[str, ClusterMemory] = {}
        self._judged: set[SteppedExecution] = set()
        self._outcomes: dict[Execution, str] = {}
        self.figures: Counter[str] = Counter()

    # -- what functions do ----------------------------------------------------------------------------------------

    def sends(self, one: SteppedExecution) -> None:
        """An execution is about to send a rekey: the key it replaces must not be one that meets its demand."""
        cluster, request = self._clusters[one.cluster], one.request
        self.sent[one.cluster].append(one)
        record = self._ledger.rotation(one.execution)
        assert record, "nothing is sent that was not written down before"
        assert record.intent, "nothing is sent that was not written down before"
        replaced = record.intent.baseline_key
        if request.force or request.key_management_type or not cluster.stamps_are_right(replaced.key_id):
            return
        made = cluster.key(replaced.key_id).created
        assert made <= one.demanded + WHOLE_SECONDS, f"{one} replaces a key that meets its demand"
        cool_down = timedelta(seconds=request.cool_down_seconds)
        assert self._clock() >= made + cool_down - WHOLE_SECONDS, f"{one} does not wait for the cool-down"

    def remembered(self, one: SteppedExecution, look: Look | None) -> None:
        """A function wrote its last look down in the memory of the cluster."""
        if look and look.key:
            self.first_sights.setdefault((one.cluster, look.key.key_id), look.at or self._clock())
        memory = self._ledger.memory(one.cluster)
        assert memory
        earlier, self._memories[one.cluster] = self._memories.get(one.cluster, memory), memory
        known = {memory.key_id, *(key.key_id for key in memory.earlier_keys)}
        assert earlier.key_id in known or len(known) > REMEMBERED_KEYS, "a key that was seen is forgotten"
        if earlier.key_id not in ("", memory.key_id):
            assert memory.key_id in self._told(), "a change of keys is in no record"
        if earlier.key_id == memory.key_id and earlier.key_seen_at:
            assert memory.key_seen_at
            assert memory.key_seen_at >= earlier.key_seen_at, "an older look takes the place of a newer one"

    def _told(self) -> set[str]:
        """The new keys of all changes that are in some record."""
        records = [item for pk, item in self._ledger.items.items() if pk.startswith("ROTATION#")]
        changes = [item["change"] for item in records if "change" in item]
        changes += [change for item in records for change in item.get("outside", ())]
        return {change["newKey"]["keyID"] for change in changes}

    def saved(self, one: SteppedExecution) -> None:
        """A function wrote its record down: if that has an outcome, it is the truth, and stays as it is."""
        item = self._ledger.items.get(f"ROTATION#{one.arn}", {})
        if "outcome" not in item or item["execution"] != encode(one.execution):
            return
        first = self._outcomes.setdefault(one.execution, item["outcome"])
        assert item["outcome"] == first, f"{one} was {first}"
        record = self._ledger.rotation(one.execution)
        if record:
            self._judge(one, record)

    def _judge(self, one: SteppedExecution, record: Rotation) -> None:
        assert record.outcome
        if not record.outcome.succeeded or one.request.dry_run or one in self._judged:
            return
        self._judged.add(one)
        shown = record.change.new_key if record.change else record.current_key
        assert shown, "a demand is met by some key"
        cluster = self._clusters[one.cluster]
        if cluster.key(shown.key_id).created > one.demanded - WHOLE_SECONDS:
            return
        seen = self.first_sights.get((one.cluster, shown.key_id))
        assert seen is None or seen + STAMP_TOLERANCE > one.demanded, f"{one} ends by a key seen before its demand"
        assert not cluster.stamps_are_right(shown.key_id), f"{one} ends by a key made before its demand"
        self.figures["demands met by a key whose stamp nobody could refute"] += 1

    # -- whose rekeys there are -----------------------------------------------------------------------------------

    def attribute_rekeys(self) -> None:
        """A rekey of ours is that of the last who sent one to its cluster and has none yet."""
        for name, cluster in self._clusters.items():
            own = [rekey for rekey in cluster.rekeys if rekey.own]
            known = sum(one.cluster == name for one, _ in self.begun)
            self.begun += [(self.sent[name][-1], rekey) for rekey in own[known:]]

    def check_rekeys(self) -> None:
        """An execution begins one rekey, and so do all that ask for a key made after the same moment, managed alike.

        One that failed before it replaced the key, and whose result somebody read away, leaves no trace to be told by.
        """
        rekeys = defaultdict(list)
        for one, rekey in self.begun:
            rekeys[one.execution].append(rekey)
        for *earlier, _ in rekeys.values():
            for rekey in earlier:
                assert rekey.fails_in in {Phase.CREATE, Phase.REWRAP}, "an execution replaced the key twice"
                assert (rekey.cluster_uuid, rekey.handle) in self.read_away, "a failed rekey was not followed"
        demands = [
            (one.cluster, one.demanded, one.request.key_management_type, one.request.key_provider_id)
            for one, rekey in self.begun
            if rekey.fails_in is None and not one.request.force
        ]
        assert len(demands) == len(set(demands)), f"one demand began two rekeys: {demands}"
