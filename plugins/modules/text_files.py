#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: text_files
short_description: Make directories and write many small text files in one task
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Makes directories and writes a set of text files below one directory, each file atomically, and says what changed.
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
  directories:
    description: Directories to make before the files are written, with owners and modes that they keep.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the directory below O(directory), relative to it or absolute.
        type: str
        required: true
      owner:
        description: Name or number of the user who owns it; whoever does now, where it is not given.
        type: str
      group:
        description: Name or number of the group that owns it; whichever does now, where it is not given.
        type: str
      mode:
        description: Mode, octal; that of now, or O(directory_mode), where it is not given.
        type: str
  files:
    description: The files to write.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file below O(directory), relative to it or absolute.
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
  description: Paths, as they were given, of the files whose text or mode changed.
  returned: always
  type: list
  elements: str
  sample: [run]
changed_directories:
  description: Paths, as they were given, of the O(directories) that were made or whose owner, group or mode changed.
  returned: always
  type: list
  elements: str
  sample: []
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.whole_files import read, write


def parse_mode(text: str, field: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"{field}: {text!r} is no file mode; give an octal string such as '0644'") from None


def resolve(directory: str, path: str, field: str) -> str:
    """Return the absolute path of a file or directory, which must lie below the directory."""
    target = os.path.normpath(os.path.join(directory, path))
    if not target.startswith(os.path.join(os.path.normpath(directory), "")):
        raise ValueError(f"{field}: {path!r} does not lie below {directory!r}; give a path without '..'")
    return target


def make_directory(
    module: AnsibleModule, path: str, wanted: dict[str, str | None], directory_mode: int
) -> dict[str, Any] | None:
    """Make a directory as it is to be, and return the difference from what was there, or None."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"directories.path: {path!r} is no directory; move it away or give another path")
    diff: dict[str, Any] = {"before": {"path": path}, "after": {"path": path}}
    made = not os.path.isdir(path)
    if made:
        diff["before"]["state"], diff["after"]["state"] = "absent", "directory"
        if module.check_mode:
            return diff
        os.makedirs(path, mode=directory_mode)
    attributes = {"path": path, "secontext": [None] * 3, "attributes": None}
    attributes |= {name: wanted[name] for name in ("owner", "group", "mode")}
    return diff if module.set_fs_attributes_if_different(attributes, made, diff) else None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "directory_mode": {"type": "str", "default": "0755"},
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "owner": {"type": "str"},
                    "group": {"type": "str"},
                    "mode": {"type": "str"},
                },
            },
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
    changed_directories, changed_files, diffs = [], [], []
    try:
        directory_mode = parse_mode(module.params["directory_mode"], "directory_mode")
        wanted = [
            (
                entry["path"],
                resolve(directory, entry["path"], "files.path"),
                entry["content"],
                parse_mode(entry["mode"], "files.mode"),
            )
            for entry in module.params["files"]
        ]
        directories = [
            (resolve(directory, entry["path"], "directories.path"), entry) for entry in module.params["directories"]
        ]
        for _path, entry in directories:
            if entry["mode"] is not None:
                parse_mode(entry["mode"], "directories.mode")
        for path, entry in directories:
            difference = make_directory(module, path, entry, directory_mode)
            if difference:
                changed_directories.append(entry["path"])
                diffs.append(difference)
        for name, path, content, mode in wanted:
            before, before_mode = read(path)
            if before == content and before_mode == mode:
                continue
            changed_files.append(name)
            diffs.append({"before_header": path, "after_header": path, "before": before or "", "after": content})
            if not module.check_mode:
                write(path, content, mode, directory_mode)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), changed_directories=changed_directories, changed_files=changed_files)
    changed = bool(changed_directories or changed_files)
    module.exit_json(changed=changed, changed_directories=changed_directories, changed_files=changed_files, diff=diffs)


if __name__ == "__main__":
    main()
