"""Promotions and rollbacks that were asked for by an event, as the console does."""

from dataclasses import dataclass

from services.trainer.promotion.champions import (
    Word,
    promote_under_lock,
    roll_back_under_lock,
)
from services.trainer.records import latest_promotion, lock_model
from services.trainer.registry import Registry
from shared.contracts.envelope import Event
from shared.contracts.events import PromotionRequested
from shared.errors import InconsistentState
from shared.messaging.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class PromotionRequests:
    """Handles `promotion-requested`."""

    registry: Registry

    def on_promotion_requested(self, event: Event[PromotionRequested], unit: UnitOfWork) -> None:
        """Promote or roll back, as `headrace models` does, once for each event.

        Raises `InconsistentState` where that can't be done, or isn't any more what was asked for.
        """
        asked = event.payload
        word = Word(asked.requested_by, asked.reason, asked.champion_version)
        with unit.transaction() as tx:
            lock_model(tx.connection, asked.model_name)
            known = latest_promotion(tx.connection, asked.model_name, asked.model_version)
            if known is not None and known["dataset"] != asked.dataset:
                raise InconsistentState(
                    f"{asked.model_name} version {asked.model_version} is a model of "
                    f"{known['dataset']}, not of {asked.dataset}"
                )
            if asked.action == "promote":
                promote_under_lock(
                    tx.connection,
                    self.registry,
                    asked.model_name,
                    asked.model_version,
                    word,
                    now=unit.clock(),
                    publish=tx.emit,
                )
            else:
                roll_back_under_lock(
                    tx.connection,
                    self.registry,
                    asked.model_name,
                    word,
                    version=asked.model_version,
                    now=unit.clock(),
                    publish=tx.emit,
                )
