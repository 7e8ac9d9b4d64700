"""MLflow: runs, registered versions, aliases. The only importer of mlflow.

Every write can be done again: a run is found by its event, a version by its training, an alias is
set to what it should be. MLflow's own retries are off, because a request repeated blindly could
register a version twice; ours look first.
"""

# First, for it decides how mlflow is imported.
from services.trainer.registry.connection import connect
from services.trainer.registry.tracking import RecordedRun, Tracking
from services.trainer.registry.versions import Registry

__all__ = ["RecordedRun", "Registry", "Tracking", "connect"]
