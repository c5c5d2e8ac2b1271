"""The wandb mirror: what rows say, shown elsewhere. Nothing is read back from it, and no run fails because of it."""
