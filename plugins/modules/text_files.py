#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: text_files
short_description: Write many small text files in one task
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Writes a set of text files below one directory, each atomically, and says which of them changed.
  - One process writes the whole configuration of a program, where a task per file would start a process for each.
options:
  directory:
    description: Absolute path of the directory that the files' paths are relative to. Created where it is missing.
    type: path
    required: true
  directory_mode:
    description: Mode of the directories that are created, octal.
    type: str
    default: "0755"
  files:
    description: The files to write.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file relative to O(directory).
        type: str
        required: true
      content:
        description: The whole text of the file.
        type: str
        required: true
      mode:
        description: Mode of the file, octal.
        type: str
        default: "0644"
attributes:
  check_mode:
    description: Says what would change and writes nothing.
    support: full
  diff_mode:
    description: Shows the text before and after for each file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Write a service and its configuration
  mlstack.kubernetes.text_files:
    directory: /etc/example
    files:
      - path: run
        content: "#!/bin/sh\nexec example --config config.yaml\n"
        mode: "0755"
      - path: config.yaml
        content: "{{ example_configuration | to_nice_yaml }}"
        mode: "0600"
"""

RETURN = r"""
changed_files:
  description: Paths, relative to O(directory), of the files whose text or mode changed.
  returned: always
  type: list
  elements: str
  sample: [run]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.whole_files import read, write


def parse_mode(text: str, field: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"{field}: {text!r} is no file mode; give an octal string such as '0644'") from None


def resolve(directory: str, path: str) -> str:
    """Return the absolute path of a file, which must lie below the directory."""
    target = os.path.normpath(os.path.join(directory, path))
    if os.path.isabs(path) or not target.startswith(os.path.join(os.path.normpath(directory), "")):
        raise ValueError(f"files.path: {path!r} does not lie below {directory!r}; give a relative path without '..'")
    return target


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "directory_mode": {"type": "str", "default": "0755"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
        },
        supports_check_mode=True,
    )
    directory = module.params["directory"]
    changed_files, diffs = [], []
    try:
        directory_mode = parse_mode(module.params["directory_mode"], "directory_mode")
        wanted = [
            (
                entry["path"],
                resolve(directory, entry["path"]),
                entry["content"],
                parse_mode(entry["mode"], "files.mode"),
            )
            for entry in module.params["files"]
        ]
        for name, path, content, mode in wanted:
            before, before_mode = read(path)
            if before == content and before_mode == mode:
                continue
            changed_files.append(name)
            diffs.append({"before_header": path, "after_header": path, "before": before or "", "after": content})
            if not module.check_mode:
                write(path, content, mode, directory_mode)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), changed_files=changed_files)
    module.exit_json(changed=bool(changed_files), changed_files=changed_files, diff=diffs)


if __name__ == "__main__":
    main()
