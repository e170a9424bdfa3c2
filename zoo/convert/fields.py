from .tools.fields import *  # noqa: F403  (until every layout imports from `tools`)
