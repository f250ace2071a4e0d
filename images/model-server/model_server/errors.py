# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is told to a client that asked for something that cannot be."""

from __future__ import annotations


class RequestError(Exception):
    """The request is wrong."""


class NotFoundError(RequestError):
    """The request names a model, a version or a label that is not there."""
