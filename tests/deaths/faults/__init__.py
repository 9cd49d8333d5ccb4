"""A process killed, frozen or failed at every step there is."""
