from .attributing import attribute as attribute
from .heat_map import GlobalHeatMap as GlobalHeatMap
from .heat_map import WordHeatMap as WordHeatMap
from .storage import load as load
from .storage import save as save
from .sums import HeatMaps as HeatMaps
from .sums import Key as Key
from .tracing import trace as trace
