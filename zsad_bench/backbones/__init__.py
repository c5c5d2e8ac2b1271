"""The frozen backbone behind every method: `load.load_backbone` finds and checks weights, `base.Backbone` encodes.

Import from the modules themselves; this one stays empty so that naming the package does not import torch.
"""
