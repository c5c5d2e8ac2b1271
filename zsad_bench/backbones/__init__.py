"""The frozen CLIP behind every method: `load.load_backbone` finds and checks weights, `clip.Backbone` encodes.

Import from the modules themselves; this one stays empty so that naming the package does not import torch.
"""
