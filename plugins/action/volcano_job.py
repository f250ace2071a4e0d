# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the task's files, show its progress, fetch its logs."""

from __future__ import annotations

from ansible_collections.mlstack.kubernetes.plugins.plugin_utils.job_action import ActionModule

__all__ = ["ActionModule"]
