"""`headrace migrate`: roles, control tables, the specs' tables, topics and buckets."""

import logging

from shared.contracts.spec_file import find_spec, spec_names
from shared.database.dataset_tables import ensure_dataset
from shared.database.engine import make_engine
from shared.database.migrations import upgrade
from shared.database.roles import ensure_roles, let_readers_connect, let_readers_read
from shared.errors import HeadraceError
from shared.messaging.kafka import Admin
from shared.object_store import ObjectStore
from shared.settings import Settings

logger = logging.getLogger(__name__)


def migrate(settings: Settings) -> None:
    """Bring everything that Headrace stores into its present form. Doing it again changes nothing.

    A spec that has faults is left for `headrace check` and for its first load to complain about:
    one user's typing error must not keep every other dataset's services from starting. With an
    `admin_database_url` the roles and databases are made first.
    """
    if settings.admin_database_url is not None:
        owners = (settings.database_url, settings.mlflow_database_url)
        watchers = (settings.console_database_url,)
        ensure_roles(
            settings.admin_database_url.get_secret_value(),
            [owner.get_secret_value() for owner in owners if owner is not None],
            [watcher.get_secret_value() for watcher in watchers if watcher is not None],
        )
    engine = make_engine(settings, application="migrate")
    try:
        upgrade(engine)
        with engine.begin() as connection:
            let_readers_connect(connection)
        for name in spec_names(settings.datasets_dir):
            try:
                with engine.begin() as connection:
                    ensure_dataset(connection, find_spec(settings.datasets_dir, name))
                    let_readers_read(connection, name)
            except HeadraceError as error:
                logger.warning("the tables of %s are left as they are: %s", name, error)
    finally:
        engine.dispose()
    admin = Admin(settings)
    try:
        admin.create_topics()
    finally:
        admin.close()
    ObjectStore(settings).create_buckets()
