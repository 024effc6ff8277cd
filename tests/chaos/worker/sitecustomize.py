"""On the path of a cluster's processes, which import it as they start: what drivers are told, they are told too."""

from chaos.small import make_small

make_small()
