# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""All kinds of jobs, by the names that people call them."""

from __future__ import annotations

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import PYTORCHJOB, TFJOB, JobKind
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import VOLCANO_JOB

KINDS: dict[str, JobKind] = {kind.name: kind for kind in (TFJOB, PYTORCHJOB, VOLCANO_JOB)}
