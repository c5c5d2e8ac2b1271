"""One file per family of backbones: the file name is the registration. This one stays empty of imports."""
