from .lowrank import LowRank as LowRank
from .lowrank import add_lora as add_lora
from .lowrank import drop_lora as drop_lora
from .lowrank import lora_layers as lora_layers
from .lowrank import lora_weights as lora_weights
from .lowrank import merge_lora as merge_lora
from .lowrank import put_lora_weights as put_lora_weights
from .lowrank import scale_lora as scale_lora
