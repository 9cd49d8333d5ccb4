"""A command that logs."""

import logging

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Counts the apples."""

    def handle(self, *args: object, **options: object) -> None:
        """Log, and print."""
        logging.getLogger("shop.stock").info("%d apples", 3)
        self.stdout.write("counted")
