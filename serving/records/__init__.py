"""What the service keeps: quotes, the steps of their lives, replies to repeated requests, offers shown."""

from serving.records.rows import Exposure, Page, QuoteRecord, Reply, Step, Write, encode_body
from serving.records.store import (
    RecordStore,
    SyncRecords,
    has_records,
    open_records,
    open_sync_records,
)
from serving.records.verify import Head, Verification

__all__ = [
    "Exposure",
    "Head",
    "Page",
    "QuoteRecord",
    "RecordStore",
    "Reply",
    "Step",
    "SyncRecords",
    "Verification",
    "Write",
    "encode_body",
    "has_records",
    "open_records",
    "open_sync_records",
]
