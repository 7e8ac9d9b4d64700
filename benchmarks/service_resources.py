"""What a service is built from when it runs without a broker."""

from shared.clock import utc_now
from shared.database.engine import make_engine
from shared.object_store import ObjectStore
from shared.service import Resources
from shared.settings import Settings


def resources_for(service: str) -> Resources:
    """The resources that this process's environment describes."""
    settings = Settings()
    engine = make_engine(settings, application=service)
    return Resources(settings, engine, ObjectStore(settings), utc_now, wake_relay=lambda: None)
