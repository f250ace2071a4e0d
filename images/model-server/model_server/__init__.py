# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A small model server with the REST and gRPC interfaces of TensorFlow Serving.

config     what to serve: a ModelServerConfig
versions   which versions of a model are loaded, when they are replaced, and what state each is in
savedmodel a version: a SavedModel and how it is called
tensors    values of JSON as arrays, and back
rest, rpc  the two interfaces
"""
