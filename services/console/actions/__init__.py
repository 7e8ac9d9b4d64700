"""Everything that can be done at the console, a closed list."""

from collections.abc import Mapping

from services.console.actions import (
    dead_letters,
    loading,
    mending,
    promoting,
    replaying,
    scheduling,
    withdrawing,
)
from services.console.actions.action import Action

ACTIONS: Mapping[str, Action] = {
    action.name: action
    for action in (
        loading.LOAD,
        mending.MEND,
        withdrawing.WITHDRAW,
        replaying.REPLAY,
        dead_letters.REDRIVE,
        dead_letters.DROP,
        promoting.PROMOTE,
        promoting.ROLL_BACK,
        scheduling.RUN_NOW,
        scheduling.PAUSE,
        scheduling.RESUME,
    )
}
"""By the names in their addresses."""
