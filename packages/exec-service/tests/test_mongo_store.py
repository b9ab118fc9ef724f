"""The store in MongoDB: the conformance suite, on a real server."""

from __future__ import annotations

import pytest
from exec_service.stores.mongo import MongoStore
from pydantic import SecretStr
from real_servers import MongoDatabase
from store_suite import OpenStore, StoreSuite


class TestMongoStore(StoreSuite):
    @pytest.fixture
    def open_store(self, mongodb: MongoDatabase) -> OpenStore:
        return lambda: MongoStore(SecretStr(mongodb.uri), mongodb.database)
