"""Korean words of the page that belong to no single part."""

TITLE = "꼬마GPT 튜터"
SUBTITLE = "속을 들여다볼 수 있는 작은 GPT에게 트랜스포머를 배워요"

EXAMPLES = (
    "RNN은 왜 앞 내용을 잊어버려?",
    "쿼리, 키, 값은 각각 뭘 해?",
    "GPT의 G, P, T는 무슨 뜻이야?",
    "트랜스포머와 RNN은 뭐가 달라?",
    "어텐션을 쉽게 설명해 줘",
    "챗GPT는 GPT-3랑 뭐가 달라?",
)

# Gradio's own words that can still come up: whatever the browser's language, they are Korean here.
GRADIO_WORDS = {
    "common.error": "문제가 생겼어요",
    "common.loading": "불러오고 있어요",
    "common.submit": "보내기",
    "common.clear": "지우기",
    "common.settings": "설정",
    "chatbot.retry": "다시 답하기",
    "chatbot.clear": "대화 지우기",
    "chatbot.submit": "보내기",
    "chatbot.cancel": "그만두기",
    "blocks.connection_can_break": "화면을 떠나면 연결이 끊길 수 있어요.",
    "blocks.long_requests_queue": "기다리는 분이 많아요. 잠시만 기다려 주세요.",
    "blocks.lost_connection": "연결이 끊어졌어요. 다시 연결하고 있어요.",
}
