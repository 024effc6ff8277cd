"""On the path of a cluster's processes, which import it as they start: what drivers are told, they are told too."""

import chaos.small  # noqa: F401
